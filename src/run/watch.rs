//! Captures for `podtap top`: as `podtap run` captures, to a closure instead of sinks.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::captures::{Capture, join};
use super::news::NewsSender;
use super::shared::Shared;
use super::tap::{SoFar, Tap};
use super::{iface, own_ips};
use crate::assembly::Assembly;
use crate::config::Config;
use crate::exchange::Protocols;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::source::interfaces::Tables;
use crate::source::live::{self, Options, StopSender, check_filter, stop_pair};
use crate::source::own_traffic::OwnTraffic;
use crate::source::privilege::{NotPermitted, Right};

/// How long captures may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Running captures.
pub(crate) struct Watch {
    stop: Option<StopSender>,
    captures: Vec<Capture>,
    /// Why one of them ended.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Watch {
    /// Captures on the interfaces of IFACE; each record goes to `watch`.
    pub(crate) fn start<W>(
        config: &Config,
        metrics: &Arc<Metrics>,
        watch: &W,
    ) -> Result<Self, Box<dyn std::error::Error>>
    where
        W: Fn(&Record) + Clone + Send + 'static,
    {
        if let Some(missing) = NotPermitted::of(Right::NetRaw) {
            return Err(missing.to_string().into());
        }
        let settings = &config.settings;
        let tables = Tables::read();
        let choices = tables.choose(&iface(settings));
        choices.iter().try_for_each(|choice| check_filter(settings.live_filter(), &choice.interface))?;
        let own_ips = own_ips(&tables, settings);
        let assembly = Assembly::new(config, own_ips.clone())?;
        let own = OwnTraffic::new(&own_ips);
        assembly.workloads().start(&own)?;
        let shared = Shared::new(Arc::clone(metrics), own_ips);
        let (stop, stopped) = stop_pair()?;
        let mut this = Self { stop: Some(stop), captures: Vec::new(), trouble: Arc::default() };
        for choice in choices {
            let options = Options {
                filter: choice.filter(settings.live_filter()),
                snaplen: settings.snaplen.bytes() as u32,
                buffer_bytes: settings.capture_buffer.bytes() as u32,
                ..Options::new(&choice.interface)
            };
            let probe = metrics.probe();
            probe.watch(&choice.interface);
            let mut tap = Tap {
                dissector: assembly.dissector(),
                pipeline: assembly.watched(watch.clone(), None),
                own: own.view(),
                probe,
                part: shared.part(),
                so_far: SoFar::default(),
                news: NewsSender::default(),
            };
            let (stopped, trouble) = (stopped.clone(), Arc::clone(&this.trouble));
            this.captures.push(Capture::start(choice.interface, &Arc::default(), move || {
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
        join(self.captures, PATIENCE, &mut Protocols::default(), &AtomicU64::default());
    }
}
