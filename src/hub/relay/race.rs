//! The time from a request's dispatch until its response says something. Until then nothing of it has been passed on but a
//! stream's head, so that another participant can answer instead: after this one, or, once it has been silent for too long,
//! beside it. The first to speak wins, and the other is cancelled. When that is due is the caller's decision.

use std::time::Instant;

use crate::hub::context::HubContext;
use crate::hub::relay::adapters::Adapter;
use crate::hub::relay::attempt::Attempt;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::headers::of_translated_body;
use crate::hub::relay::passthrough::RelayedHead;
use crate::hub::relay::provider_status::{calls_for_another, is_redirect, lacks_api};
use crate::hub::relay::upstream::{POLL_INTERVAL, UpstreamError, UpstreamFailure, UpstreamRequest, receive_any};
use crate::hub::relay::verdict::TranslationReason;
use crate::proto::data_watch::DataWatch;
use crate::proto::stage::Stage;
use crate::tunnel::Piece;

/// A participant that has been sent the request.
pub struct Contender<'s> {
    /// In memory of its own, since a contender is moved often.
    pub attempt: Box<Attempt<'s>>,
    pub upstream: UpstreamRequest,
    /// Where the request was translated.
    pub adapter: Option<Adapter>,
    /// Why it is asked in another API, where its provider's first answer has shown that it has to be.
    pub reason: Option<TranslationReason>,
    /// The final response's head, once it has come.
    head: Option<RelayedHead>,
    watch: DataWatch,
}

/// How a race ended.
pub enum RaceEnd<'s> {
    /// This participant's response has its head, and says something unless its status is that of a failure.
    Spoke(Contender<'s>, RelayedHead),
    /// None speaks any more. This is the last one, and why it failed.
    Failed(Contender<'s>, UpstreamError),
}

impl<'s> Contender<'s> {
    /// A participant whose response has not begun.
    pub fn new(
        attempt: Box<Attempt<'s>>,
        upstream: UpstreamRequest,
        adapter: Option<Adapter>,
        reason: Option<TranslationReason>,
    ) -> Self {
        Contender { attempt, upstream, adapter, reason, head: None, watch: DataWatch::default() }
    }

    /// Whether it was asked in another API than the client's.
    pub fn is_translated(&self) -> bool {
        self.adapter.is_some() || self.reason.is_some()
    }

    fn stage(&self) -> Stage {
        if self.head.is_some() { Stage::Stream } else { Stage::Dispatch }
    }

    /// Ends it because its provider has refused the request, while another one goes on.
    fn refuse(mut self, status: u16) {
        self.upstream.cancel();
        if is_redirect(status) {
            self.attempt.fail(Stage::Provider, &format!("the provider answered {status}, a redirect"));
        } else {
            self.attempt.complete(status);
        }
    }

    /// Ends it because it has failed, while another one goes on.
    fn fail(mut self, failure: &UpstreamFailure) {
        self.attempt.fail_with(failure);
    }

    /// Ends it because another participant has answered first, or the client has disconnected.
    fn lose(mut self, was_silent: bool) {
        self.attempt.lose(was_silent);
        // A silent participant may not read its tunnel either: the cancellation is not waited for.
        if was_silent { self.upstream.cancel_aside() } else { self.upstream.cancel() }
    }
}

/// What a race needs to know of its request.
pub struct Race<'r> {
    pub hub: &'r HubContext,
    pub request_id: &'r str,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

impl Race<'_> {
    /// Waits until a participant speaks. `hedge` is asked now and then, while there is one participant only, for another
    /// one beside it.
    pub fn run<'s>(
        &self,
        client: &mut ClientResponse<'_, '_>,
        first: Contender<'s>,
        hedge: &mut dyn FnMut(&Contender<'s>) -> Option<Contender<'s>>,
    ) -> RaceEnd<'s> {
        // In the order in which they were sent the request.
        let mut contenders = vec![first];
        let mut polled = Instant::now();
        loop {
            if polled.elapsed() >= POLL_INTERVAL {
                polled = Instant::now();
                if let Err(error) = self.poll(client, &contenders[0]) {
                    return RaceEnd::Failed(first_alone(contenders), error);
                }
                if let [only] = &contenders[..] {
                    contenders.extend(hedge(only));
                }
            }
            // The head of a stream that says nothing yet.
            let is_silent = contenders.iter().all(|one| one.upstream.queue_is_empty());
            if is_silent && let Err(error) = client.flush() {
                return RaceEnd::Failed(first_alone(contenders), error.into());
            }
            let received = receive_any(contenders.iter_mut().map(|one| &mut one.upstream));
            let Some((index, piece)) = received else { continue };
            let (spoke, alone) = (self.take(client, &mut contenders[index], piece), contenders.len() == 1);
            match spoke {
                Ok(None) => {}
                Ok(Some(head)) if !alone && is_refusal(head.status) => contenders.remove(index).refuse(head.status),
                Ok(Some(head)) => return RaceEnd::Spoke(winner(contenders, index), head),
                Err(error) if alone => return RaceEnd::Failed(contenders.remove(0), error),
                Err(UpstreamError::Failed(failure)) => contenders.remove(index).fail(&failure),
                Err(error) => return RaceEnd::Failed(first_alone(contenders), error),
            }
        }
    }

    /// Checks the client's connection and the time limit, which is that of the participant that was asked first.
    fn poll(&self, client: &mut ClientResponse<'_, '_>, first: &Contender<'_>) -> Result<(), UpstreamError> {
        client.poll_disconnect()?;
        first.upstream.check_deadline(first.stage(), &self.hub.timeouts)
    }

    /// Takes in a piece of a response: the head, when the response says something. That is the first event with data of an
    /// event stream, and the first byte of another body; an unsuccessful one says enough with its status.
    fn take(
        &self,
        client: &mut ClientResponse<'_, '_>,
        contender: &mut Contender<'_>,
        piece: Piece,
    ) -> Result<Option<RelayedHead>, UpstreamError> {
        let piece = contender.upstream.accept(contender.stage(), piece, &self.hub.timeouts)?;
        let Some(head) = &contender.head else { return self.take_head(client, contender, piece) };
        let speaks = match &piece {
            Piece::Chunk(bytes) => !bytes.is_empty() && (!is_readable(head) || contender.watch.push(bytes)),
            Piece::End => true,
            _ => false,
        };
        let speaks = contender.upstream.hold_back(piece) || speaks;
        Ok(if speaks { contender.head.take() } else { None })
    }

    /// Takes in the head of the final response. A stream's is passed on at once: that leaves the request free to go to
    /// another participant.
    fn take_head(
        &self,
        client: &mut ClientResponse<'_, '_>,
        contender: &mut Contender<'_>,
        piece: Piece,
    ) -> Result<Option<RelayedHead>, UpstreamError> {
        let (status, headers) = match piece {
            Piece::Start { status, headers } if (200..600).contains(&status) => (status, headers),
            // Interim responses (RFC 9110, section 15.2) end at the participant.
            Piece::Start { status, .. } if (100..200).contains(&status) => return Ok(None),
            _ => {
                contender.upstream.cancel();
                return Err(UpstreamError::provider("the participant answered without a head"));
            }
        };
        contender.attempt.receive_head(status);
        let picked = &contender.attempt.slot.picked;
        let head = RelayedHead::new(picked, self.request_id, status, headers, self.stream);
        if status >= 300 {
            return Ok(Some(head));
        }
        let is_translated = contender.adapter.is_some();
        // A head that says how the body is compressed holds for that body alone.
        let passes = if is_translated { self.stream } else { !head.is_coded() };
        if head.is_event_stream() && passes && client.form().begins_early() {
            let headers = head.headers.clone();
            let headers = if is_translated { of_translated_body(headers) } else { headers };
            client.open(status, &client.stream_headers(headers))?;
        }
        contender.head = Some(head);
        Ok(None)
    }
}

/// Whether comments can be told from events in a body: it is an event stream, and not compressed.
fn is_readable(head: &RelayedHead) -> bool {
    head.is_event_stream() && !head.is_coded()
}

/// Whether a response with this status, while another participant goes on, is none to end with.
fn is_refusal(status: u16) -> bool {
    calls_for_another(status) || lacks_api(status) || is_redirect(status)
}

/// The contender that has won, after the others have lost.
fn winner<'s>(mut contenders: Vec<Contender<'s>>, index: usize) -> Contender<'s> {
    let winner = contenders.remove(index);
    // Who was asked before the winner has been silent for longer.
    contenders.into_iter().enumerate().for_each(|(place, loser)| loser.lose(place < index));
    winner
}

/// The contender that was asked first, after the others have lost.
fn first_alone<'s>(contenders: Vec<Contender<'s>>) -> Contender<'s> {
    winner(contenders, 0)
}
