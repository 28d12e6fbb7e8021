//! `inject` and `uninject` on whole texts.
