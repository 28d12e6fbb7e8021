//! Names of interfaces by their index, for frames of `any` (SLL2 carries the index).
//!
//! Does not list interfaces: that is `interfaces`.

use std::sync::Arc;

/// Indexes remembered; a pod has a handful of interfaces, a node with many short-lived ones starts over.
const MAX_NAMES: usize = 256;

/// The names seen so far; one per handle, so a reopened one asks again.
#[derive(Debug, Default)]
pub(super) struct SeenNames {
    known: Vec<(u32, Option<Arc<str>>)>,
}

impl SeenNames {
    /// The name behind the interface index of an SLL2 frame
    /// (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>), asking the kernel once per index.
    pub(super) fn of_sll2(&mut self, frame: &[u8]) -> Option<&Arc<str>> {
        let index = frame.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)?;
        self.of_index(index, name_of)
    }

    fn of_index(&mut self, index: u32, ask: impl FnOnce(u32) -> Option<Arc<str>>) -> Option<&Arc<str>> {
        let position = match self.known.iter().position(|(known, _)| *known == index) {
            Some(position) => position,
            None => {
                if self.known.len() >= MAX_NAMES {
                    self.known.clear();
                }
                self.known.push((index, ask(index)));
                self.known.len() - 1
            }
        };
        self.known.get(position)?.1.as_ref()
    }
}

pub(in crate::source) fn name_of(index: u32) -> Option<Arc<str>> {
    let mut buffer = [0u8; libc::IF_NAMESIZE];
    #[allow(unsafe_code, reason = "std cannot name an interface, and sysfs may show another network namespace")]
    // SAFETY: `buffer` has room for the IF_NAMESIZE bytes that if_indextoname(3) may write.
    let found = unsafe { !libc::if_indextoname(index, buffer.as_mut_ptr().cast()).is_null() };
    let name = std::ffi::CStr::from_bytes_until_nul(&buffer).ok()?.to_str().ok()?;
    found.then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_asked_once_also_when_it_has_no_name_and_the_table_stays_bounded() {
        let mut names = SeenNames::default();
        let mut asked = 0;
        for index in [1, 2, 1, 2, 1] {
            let name = names.of_index(index, |index| {
                asked += 1;
                (index == 1).then(|| "eth0".into())
            });
            assert_eq!(name.map(|name| &**name), (index == 1).then_some("eth0"));
        }
        assert_eq!(asked, 2);
        for index in 0..1000 {
            names.of_index(index, |_| None);
        }
        assert!(names.known.len() <= MAX_NAMES);
    }

    #[test]
    fn the_index_is_in_the_second_word_of_sll2_and_a_cut_header_has_none() {
        let mut names = SeenNames::default();
        names.of_index(7, |_| Some("seven".into()));
        assert_eq!(names.of_sll2(&[8, 0, 0, 0, 0, 0, 0, 7, 0, 0]).map(|name| &**name), Some("seven"));
        assert_eq!(names.of_sll2(&[8, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn loopback_has_a_name() {
        assert_eq!(name_of(1).as_deref(), Some("lo"));
    }
}
