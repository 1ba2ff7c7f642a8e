//! Change events to the mirrors in the document store.
