//! Traffic worth looking at: one mix of scenes, played on loopback or rendered to frames.
//!
//! Each scene is one TCP connection with a script for both ends, so both ways show the same exchanges. Captures
//! nothing: `run` does, at the same time.

mod calls;
mod live;
mod scenes;
mod script;

pub use live::{DemoStage, PlayedMix};

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::flow::{Endpoint, Timestamp};
use crate::synth::{Conversation, SynthFrame, merge};
use script::{DemoScript, ScriptStep};

/// Part of every secret in the mix: what no output of podtap may show.
pub const SECRET_MARK: &str = "made-up";

/// Address of the server in the rendered mix.
pub const RENDERED_SERVER: Endpoint = Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 20)), port: 8080 };

/// The mix as a tap at the server would see it, from `start` on: about three seconds of time.
pub fn rendered(start: Timestamp) -> Vec<SynthFrame> {
    let scenes = scenes::mix();
    let frames = scenes.iter().zip(0u8..).map(|(scene, number)| {
        let client = Endpoint::new(Ipv4Addr::new(10, 1, 0, 100 + number % 8), 40_000 + 13 * u16::from(number));
        render(scene, Conversation::new(client, RENDERED_SERVER).at(start))
    });
    merge(frames).collect()
}

/// How many exchanges the mix has: what a capture that lost nothing shows.
pub fn exchanges() -> u32 {
    scenes::mix().iter().map(|scene| scene.requests).sum()
}

fn render(scene: &DemoScript, conversation: Conversation) -> Vec<SynthFrame> {
    let opening = conversation.tap_at_server().rtt(Duration::from_micros(350)).after(scene.start).handshake();
    let play = |conversation: Conversation, step: &ScriptStep| match step {
        ScriptStep::Send(side, bytes) => conversation.send(*side, bytes),
        ScriptStep::Pause(pause) => conversation.after(*pause),
        ScriptStep::Close => conversation.close(),
        ScriptStep::HangUp => conversation.server_fin().client_fin().server_ack(),
        ScriptStep::Reset => conversation.server_rst(),
    };
    scene.steps.iter().fold(opening, play).frames()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(frames: &[SynthFrame]) -> f64 {
        frames.last().unwrap().at.since(frames[0].at) as f64 / 1e9
    }

    #[test]
    fn the_mix_is_rendered_the_same_each_time_in_order_and_takes_about_three_seconds() {
        let frames = rendered(Timestamp(0));
        assert_eq!(frames, rendered(Timestamp(0)));
        assert!(frames.is_sorted_by_key(|frame| frame.at));
        assert!((2.0..3.5).contains(&seconds(&frames)), "{}", seconds(&frames));
    }

    #[test]
    fn secrets_are_in_the_query_and_in_headers() {
        let shown = |frame: &SynthFrame| String::from_utf8_lossy(&frame.bytes).matches(SECRET_MARK).count();
        let marks: usize = rendered(Timestamp(0)).iter().map(shown).sum();
        assert_eq!(marks, 7);
    }

    #[test]
    fn every_scene_opens_one_connection_and_ends_it() {
        let ends = |step: &ScriptStep| matches!(step, ScriptStep::Close | ScriptStep::HangUp | ScriptStep::Reset);
        for scene in scenes::mix() {
            let (last, before) = scene.steps.split_last().unwrap();
            assert!(ends(last) && !before.iter().any(ends), "{scene:?}");
        }
    }
}
