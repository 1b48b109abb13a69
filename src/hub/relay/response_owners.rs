//! Which participant made which response, so that later requests about it find the way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Responses that a hub remembers; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;

/// Who made a response.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The member's number: one who left and came back does not know it any more.
    pub serial: u64,
    /// Its id.
    pub participant: String,
    /// Whether the hub put it together from a chat, so that the provider knows nothing of it.
    pub translated: bool,
}

/// Who made which response, by room and response id.
#[derive(Default)]
pub struct Makers {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    makers: HashMap<(String, String), Maker>,
    order: VecDeque<(String, String)>,
}

impl Makers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers who made a response.
    pub(crate) fn remember(&self, room: &str, response: &str, maker: Maker) {
        let key = (room.to_owned(), response.to_owned());
        let mut known = self.lock();
        if known.makers.insert(key.clone(), maker).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > REMEMBERED {
            if let Some(oldest) = known.order.pop_front() {
                known.makers.remove(&oldest);
            }
        }
    }

    pub(crate) fn of(&self, room: &str, response: &str) -> Option<Maker> {
        self.lock().makers.get(&(room.to_owned(), response.to_owned())).cloned()
    }

    /// Forgets what a member made that has left.
    pub(crate) fn forget(&self, serial: u64) {
        let mut known = self.lock();
        let Known { makers, order } = &mut *known;
        makers.retain(|_, maker| maker.serial != serial);
        order.retain(|key| makers.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(serial: u64) -> Maker {
        Maker { serial, participant: "ann".into(), translated: false }
    }

    #[test]
    fn the_oldest_are_forgotten_and_those_whose_maker_left() {
        let makers = Makers::default();
        for n in 0..=REMEMBERED {
            makers.remember("ABC234", &format!("resp_{n}"), maker(n as u64 % 2));
        }
        makers.remember("ABC234", "resp_5", maker(7));
        assert!(makers.of("ABC234", "resp_0").is_none());
        assert!(makers.of("XYZ234", "resp_1").is_none(), "rooms do not share responses");
        assert_eq!(makers.of("ABC234", "resp_5").unwrap().serial, 7);
        makers.forget(1);
        assert!(makers.of("ABC234", "resp_1").is_none() && makers.of("ABC234", "resp_2").is_some());
        let known = makers.lock();
        assert_eq!(known.order.len(), known.makers.len());
    }
}
