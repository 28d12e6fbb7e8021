//! Captures for `podtap top`: as `podtap run` captures, to a closure instead of sinks.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::captures::{CaptureThread, join};
use super::news::NewsSender;
use super::shared::SharedState;
use super::tap::{FrameTap, SoFar};
use super::{iface, own_ips};
use crate::assembly::Assembly;
use crate::config::RunConfig;
use crate::exchange::SeenProtocols;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::source::interfaces::KernelTables;
use crate::source::live::{self, CaptureOptions, StopSender, check_filter, stop_pair};
use crate::source::own_traffic::OwnTraffic;
use crate::source::privilege::{NeededRight, NotPermitted};

/// How long captures may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Running captures.
pub(crate) struct CaptureWatch {
    stop: Option<StopSender>,
    captures: Vec<CaptureThread>,
    /// Why one of them ended.
    trouble: Arc<Mutex<Option<String>>>,
}

impl CaptureWatch {
    /// Captures on the interfaces of IFACE; each record goes to `watch`.
    pub(crate) fn start<W>(
        config: &RunConfig,
        metrics: &Arc<Metrics>,
        watch: &W,
    ) -> Result<Self, Box<dyn std::error::Error>>
    where
        W: Fn(&Record) + Clone + Send + 'static,
    {
        if let Some(missing) = NotPermitted::of(NeededRight::NetRaw) {
            return Err(missing.to_string().into());
        }
        let settings = &config.settings;
        let tables = KernelTables::read();
        let choices = tables.choose(&iface(settings));
        choices.iter().try_for_each(|choice| check_filter(settings.live_filter(), &choice.interface))?;
        let own_ips = own_ips(&tables, settings);
        let assembly = Assembly::new(config, own_ips.clone())?;
        let own = OwnTraffic::new(&own_ips);
        assembly.workloads().start(&own)?;
        let shared = SharedState::new(Arc::clone(metrics), own_ips);
        let (stop, stopped) = stop_pair()?;
        let mut this = Self { stop: Some(stop), captures: Vec::new(), trouble: Arc::default() };
        for choice in choices {
            let options = CaptureOptions {
                filter: choice.filter(settings.live_filter()),
                snaplen: settings.snaplen.bytes() as u32,
                buffer_bytes: settings.capture_buffer.bytes() as u32,
                ..CaptureOptions::new(&choice.interface)
            };
            let probe = metrics.probe();
            probe.watch(&choice.interface);
            let mut tap = FrameTap {
                dissector: assembly.dissector(),
                pipeline: assembly.watched(watch.clone(), None),
                own: own.view(),
                probe,
                part: shared.part(),
                so_far: SoFar::default(),
                join: None,
                news: NewsSender::default(),
            };
            let (stopped, trouble) = (stopped.clone(), Arc::clone(&this.trouble));
            this.captures.push(CaptureThread::start(choice.interface, &Arc::default(), move || {
                let outcome = live::run(&options, &stopped, &mut tap);
                if let Err(error) = &outcome {
                    let why = format!("cannot capture on {}: {error}", options.interface);
                    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                }
                (tap.finish(), outcome)
            })?);
        }
        Ok(this)
    }

    /// Why one of the captures ended by itself.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends them; what is open goes to the closure.
    pub(crate) fn finish(mut self) {
        drop(self.stop.take());
        join(self.captures, PATIENCE, &mut SeenProtocols::default(), &AtomicU64::default());
    }
}
