//! What is different where connects of processes are read: records of packets say which process asked for their connection.
//!
//! How a process is found is known to `connects`; here it meets settings and records.

use super::Assembly;
use crate::attempts::ReportedConnects;
use crate::connects::{self, AskerBook, AskerNamespaces, ConnectEngine, ProcessJoiner};
use crate::ledger::LeftOut;
use crate::record::{ConnectRecord, SeenBy};
use crate::settings::RecordKind;
use crate::source::connects::namespace;

impl Assembly {
    /// What makes records of connects.
    pub fn connects(&self) -> ConnectEngine {
        let mut config = connects::ConnectConfig {
            observer_id: self.dissect.http.observer_id.clone(),
            redactor: self.redactor.clone(),
            mounts: namespace("mnt").unwrap_or_default(),
            ..connects::ConnectConfig::default()
        };
        config.read_users(&std::fs::read_to_string("/etc/passwd").unwrap_or_default());
        ConnectEngine::new(config, self.dissect.http.own_ips.clone())
    }

    /// Connects are read: those that `AskerBook` notes are looked for in what is captured. None where no packets are.
    pub fn join_processes(&mut self) -> Option<AskerBook> {
        if !self.settings.captures() {
            return None;
        }
        let all = self.settings.connect_all_namespaces;
        let book = AskerBook::new(AskerNamespaces { own: namespace("net"), all });
        if let Some(flows) = &mut self.dissect.flows {
            flows.openings = true;
        }
        if let Some(connects) = &mut self.dissect.connects {
            connects.reported = if all { ReportedConnects::All } else { ReportedConnects::Own };
        }
        self.askers = Some(book.askers());
        Some(book)
    }

    /// Looks for processes, for one capture thread.
    pub fn join(&self) -> Option<ProcessJoiner> {
        let wanted = self.settings.records(RecordKind::Http)
            || self.settings.records(RecordKind::Flows)
            || self.settings.failed_connects;
        self.askers.clone().filter(|_| wanted).map(ProcessJoiner::new)
    }
}

/// A failed connect that packets show is recorded by the process that asked for it, where one did.
pub(super) fn is_recorded_by_process(connect: &ConnectRecord) -> Option<LeftOut> {
    let both = connect.seen_by == SeenBy::Packets && connect.process.is_some();
    both.then_some(LeftOut::SeenByProcess)
}
