//! Elasticsearch and OpenSearch. A kill takes as long as a start: here their connections are cut instead, all times but
//! the last. With PODTAP_KILLS=20 they are killed as often as the others.

use podtap::setup::SetupOptions;
use podtap::sink::elasticsearch::ElasticsearchSink;
use podtap::sink::{BatchLimits, SinkOptions, spawn};

use super::{KILLS, under_load};
use crate::compliance::Fault;
use crate::compliance::door::Door;
use crate::elasticsearch::{options_to, set_up};
use crate::feed::{ROOMY, json_line};
use crate::servers::{Kind, Search};

/// Batches as they are by default: a server that has just come up has much to catch up with.
const LARGE: SinkOptions = SinkOptions { batch: BatchLimits { records: 500, ..ROOMY.batch }, ..ROOMY };

#[test]
fn elasticsearch_and_opensearch_killed_under_load_lose_nothing_and_store_nothing_twice() {
    let kills = std::env::var_os("PODTAP_KILLS").map_or(1, |kills| kills.to_string_lossy().parse().unwrap());
    for kind in Kind::BOTH {
        let Some(mut server) = Search::own(kind, None, &[]) else { continue };
        let mut door = Door::to(server.address());
        let options = options_to(&format!("http://{}", door.address()), None, "killed");
        set_up(&options, &SetupOptions::default());
        let sink = spawn("elasticsearch", ElasticsearchSink::new(options).unwrap(), LARGE).unwrap();
        let mut left = KILLS;
        let (offered, counts) = under_load(sink, json_line, KILLS, || {
            left -= 1;
            if left < kills {
                server.kill();
                server.start();
            } else {
                door.set(Fault::Refuses);
                door.set(Fault::Healthy);
            }
        });
        assert_eq!((counts.ledger.delivered, counts.ledger.rejected), (offered as u64, 0), "{kind:?}");
        assert!(counts.failed_attempts() > 0, "{kind:?}: no kill was felt");
        assert_eq!(server.count("killed"), offered as u64, "{kind:?}: none lost, none twice");
        let attempts = counts.failed_attempts();
        println!(
            "{kind:?}: {offered} records, {kills} kills, {} cuts, {attempts} failed attempts, 0 lost, 0 twice",
            KILLS - kills
        );
    }
}
