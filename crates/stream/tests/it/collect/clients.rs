//! Clients that nobody here wrote: OpenTelemetry's SDK for Python, and a browser with our tracker.
