//! Records that could not be processed, kept with their reason.
