//! From a row, of a topic or of the lake, to an event of the engine: the same cells whichever way it came.
