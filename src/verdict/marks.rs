//! Which application a mark belongs to, as packets of known containers show.
//!
//! Cloud Foundry marks the packets of an application with the number of its policy group, on every cell alike. Where the
//! sender's address is unknown (its container runs on another cell), the mark still names its application. A mark that was
//! seen from two applications belongs to none.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::record::StoredContainer;

/// Marks that are remembered; further ones name no application.
const MOST: usize = 4096;

/// What packets have shown so far.
#[derive(Debug, Default)]
pub(super) struct PacketMarks(HashMap<u32, Owner, RandomState>);

#[derive(Debug)]
enum Owner {
    One(Arc<StoredContainer>),
    Several,
}

impl PacketMarks {
    /// A packet of this container had this mark.
    pub(super) fn learn(&mut self, mark: u32, container: &StoredContainer) {
        if container.app.is_empty() || container.group.is_empty() {
            return;
        }
        if let Some(owner) = self.0.get_mut(&mark) {
            if matches!(owner, Owner::One(known) if known.group != container.group) {
                *owner = Owner::Several;
            }
        } else if self.0.len() < MOST {
            // Of the container itself a mark says nothing.
            let application = StoredContainer { id: Default::default(), ..container.clone() };
            self.0.insert(mark, Owner::One(Arc::new(application)));
        }
    }

    /// The application that packets with this mark come from.
    pub(super) fn application(&self, mark: u32) -> Option<Arc<StoredContainer>> {
        match self.0.get(&mark)? {
            Owner::One(application) => Some(Arc::clone(application)),
            Owner::Several => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(app: &str) -> StoredContainer {
        StoredContainer { id: "handle".into(), app: app.into(), group: app.into(), ..StoredContainer::default() }
    }

    #[test]
    fn a_mark_names_the_application_that_alone_has_it_and_no_container() {
        let mut marks = PacketMarks::default();
        marks.learn(2, &container("a"));
        marks.learn(2, &container("a"));
        marks.learn(3, &container("a"));
        marks.learn(3, &container("b"));
        marks.learn(3, &container("a"));
        marks.learn(4, &container(""));
        let found = [2, 3, 4, 5].map(|mark| marks.application(mark).map(|it| (it.id.to_string(), it.app.to_string())));
        assert_eq!(found, [Some((String::new(), "a".to_owned())), None, None, None]);
    }
}
