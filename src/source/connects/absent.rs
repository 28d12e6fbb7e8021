//! In place of the program, where podtap was built without it.

use std::os::fd::RawFd;

use super::{ConnectSourceOptions, ConnectsUnavailable};
use crate::connects::ConnectEngine;

pub(super) const EXIT: &str = "connect_exit";

/// A program that was loaded: here there is none.
#[derive(Debug)]
pub struct LoadedProgram {
    /// What it does without, and why.
    pub lacks: Option<String>,
    never: std::convert::Infallible,
}

pub(super) fn load(_: &ConnectSourceOptions, _: bool) -> Result<LoadedProgram, ConnectsUnavailable> {
    Err(ConnectsUnavailable::LeftOut)
}

impl LoadedProgram {
    /// Whether its counters can be read without a right.
    pub fn needs_right(&self) -> bool {
        match self.never {}
    }

    pub(super) fn raw(&self) -> RawFd {
        match self.never {}
    }

    pub(super) fn read(&mut self, _: usize, _: impl FnMut(&[u8])) -> usize {
        match self.never {}
    }

    pub(super) fn has_unread(&self, _: &ConnectEngine) -> bool {
        match self.never {}
    }

    pub(super) fn count(&self, _: &mut ConnectEngine, _: bool) {
        match self.never {}
    }

    pub(super) fn detach(&mut self) {
        match self.never {}
    }
}
