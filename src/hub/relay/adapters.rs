//! A chat completion that is passed on as an answer of another API, whole or as a stream, and embeddings; and which responses
//! are passed on so. The translation itself is `proto::translate`.

use std::io;
use std::time::Duration;

use crate::hub::error_shape::ErrorShape;
use crate::hub::relay::attempt::Attempt;
use crate::hub::relay::client_response::{ClientResponse, cut_short};
use crate::hub::relay::content_coding::ContentCoding;
use crate::hub::relay::delivery::Delivery;
use crate::hub::relay::headers::{Headers, of_translated_body};
use crate::hub::relay::operation::{RelayRequest, Shape};
use crate::hub::relay::passthrough::{Collected, RelayedHead};
use crate::hub::relay::upstream::UpstreamError;
use crate::hub::respond::JSON;
use crate::proto::management::ErrorCode;
use crate::proto::openai::Members;
use crate::proto::operations::{self, Operation};
use crate::proto::parsed::parsed_bytes;
use crate::proto::sse::Decoder;
use crate::proto::stage::Stage;
use crate::proto::translate::ollama::{self, AnswerForm, EmbeddingForm};
use crate::proto::translate::{CUT_SHORT, ChatTranslator, MAX_HELD, ResponseTemplate, error_text};
use crate::tunnel::Piece;

/// How many copies of a text exist while it is translated: as it came, as its event, and within the events that it becomes.
const COPIES: usize = 8;
/// How many copies of embeddings exist: as they came, as they are sent, and the list of them.
const EMBEDDING_COPIES: usize = 3;
/// Events are sent once they have this length, in bytes: one chunk may become many times as much.
const FLUSH: usize = 64 << 10;

/// What a short answer takes at most while it is translated, in bytes.
const MAX_SHORT: usize = 256 << 10;

const TOO_LONG: &str = "its answer is longer than the hub has memory for to put it into another form";

/// The error of a compressed answer behind a head that was sent for another one.
const CODED_TOO_LATE: &str = "the provider compressed its answer, which the head that the client has does not say: let it \
    send plain text";

/// Turns one answer of OpenAI's API into an answer of another one.
pub enum Adapter {
    /// A chat completion.
    Chat {
        /// The id by which the client may ask for the answer later, if the API has that.
        id: Option<String>,
        /// The translation.
        answer: ChatTranslator,
    },
    /// Embeddings, for Ollama's clients.
    Embeddings {
        /// The route.
        form: EmbeddingForm,
        /// The client's name for the model.
        model: String,
    },
}

impl Adapter {
    /// For the Responses API. `body` is the request's, as the client sent it; `key` makes the response's id; `created_at` is
    /// in seconds since the epoch; `model` is the participant's.
    pub fn responses(body: &Members<'_>, key: &str, created_at: u64, model: &str, stream: bool) -> Self {
        let template = ResponseTemplate::new(body, key, created_at);
        Adapter::Chat { id: Some(template.id()), answer: ChatTranslator::responses(template, model, stream) }
    }

    /// For the Messages API.
    pub fn messages(key: &str, model: &str, stream: bool) -> Self {
        Adapter::Chat { id: None, answer: ChatTranslator::messages(key, model, stream) }
    }

    /// For a text of Ollama's API. `model` is the client's name for the model; `started` is the time since the epoch.
    pub fn ollama(form: AnswerForm, model: &str, started: Duration, stream: bool) -> Self {
        Adapter::Chat { id: None, answer: ChatTranslator::ollama(form, model, started, stream) }
    }

    /// For embeddings of Ollama's API.
    pub fn embeddings(form: EmbeddingForm, model: &str) -> Self {
        Adapter::Embeddings { form, model: model.to_owned() }
    }

    /// The operation whose answer it turns.
    pub fn operation(&self) -> Operation {
        match self {
            Adapter::Chat { .. } => operations::CHAT,
            Adapter::Embeddings { .. } => operations::EMBEDDINGS,
        }
    }
}

impl Delivery<'_, '_, '_, '_> {
    /// Passes the response on, through the adapter if the request was translated. An error response is never translated.
    ///
    /// # Errors
    /// Why the response is incomplete.
    pub fn pass_on(
        &mut self,
        request: &RelayRequest<'_>,
        head: RelayedHead,
        adapter: Option<Adapter>,
    ) -> Result<io::Result<()>, UpstreamError> {
        if self.client.is_open() && adapter.is_none() && head.is_coded() {
            self.upstream.cancel();
            return Err(UpstreamError::provider(CODED_TOO_LATE));
        }
        if adapter.is_some()
            && head.status >= 400
            && let Some(shape) = request.kind.translated_error()
        {
            return self.translate_error(head, shape);
        }
        if let Some(adapter) = adapter.filter(|_| head.status < 400) {
            self.attempt.translated = true;
            return self.translate(head, adapter);
        }
        if request.kind.shape == Shape::Responses && head.status < 400 {
            self.attempt.watch_for_id(head.is_event_stream());
        }
        self.pass_unchanged(head)
    }

    /// Passes a provider's error about a translated request on in the shape of the API that the client speaks.
    fn translate_error(&mut self, head: RelayedHead, shape: ErrorShape) -> Result<io::Result<()>, UpstreamError> {
        let Collected { body, whole } = self.collect()?;
        if !whole {
            self.upstream.cancel();
        }
        self.attempt.complete(head.status);
        let message = error_text(&body);
        let body = shape.body(head.status, ErrorCode::EndpointNotReachable, &message, None);
        Ok(self.client.respond(head.status, &json_headers(head.headers), body.to_string().as_bytes()))
    }

    /// Passes a successful answer on as one of another API. The inner result says whether the client's connection can be kept.
    fn translate(&mut self, head: RelayedHead, adapter: Adapter) -> Result<io::Result<()>, UpstreamError> {
        match adapter {
            Adapter::Chat { id, answer } => self.translate_chat(head, id, answer),
            Adapter::Embeddings { form, model } => self.translate_embeddings(head, form, &model),
        }
    }

    /// Passes embeddings on as Ollama's.
    fn translate_embeddings(
        &mut self,
        head: RelayedHead,
        form: EmbeddingForm,
        model: &str,
    ) -> Result<io::Result<()>, UpstreamError> {
        let mut coding = ContentCoding::of(&head.headers).inspect_err(|_| self.upstream.cancel())?;
        let mut body = Vec::new();
        loop {
            let read = match self.upstream.next(self.client, &self.attempt.hub.timeouts)? {
                Piece::Chunk(chunk) => coding.decode(chunk, &mut |text| {
                    self.attempt.receive(&mut body, text);
                    reserve(self.client, body.len().saturating_mul(EMBEDDING_COPIES))
                }),
                Piece::End => break,
                _ => Ok(()),
            };
            if read.is_err() {
                self.upstream.cancel();
                return read.map(Ok);
            }
        }
        let answer = ollama::embeddings_answer(form, model, &body, self.attempt.elapsed());
        let answer = answer.map_err(|reason| UpstreamError::provider(&reason))?;
        self.attempt.complete(head.status);
        Ok(self.client.respond(200, &json_headers(head.headers), answer.as_bytes()))
    }

    /// Passes a chat completion on.
    fn translate_chat(
        &mut self,
        head: RelayedHead,
        id: Option<String>,
        mut answer: ChatTranslator,
    ) -> Result<io::Result<()>, UpstreamError> {
        self.attempt.record_owner(id, true);
        let events = head.is_event_stream();
        let coding = ContentCoding::of(&head.headers).inspect_err(|_| self.upstream.cancel())?;
        if events && head.stream {
            let headers = self.client.stream_headers(of_translated_body(head.headers));
            return self.translate_stream(&headers, coding, &mut answer);
        }
        self.collect_chat(events, coding, &mut answer)?;
        self.attempt.complete(head.status);
        if head.stream {
            answer.end();
            let headers = self.client.stream_headers(of_translated_body(head.headers));
            let opened = self.client.open(200, &headers).map_err(|_| cut_short());
            return Ok(opened.and_then(|()| self.client.finish(&[answer.take_events()])));
        }
        Ok(self.client.respond(200, &json_headers(head.headers), answer.into_body().as_bytes()))
    }

    /// Translates a stream of chat chunks, and passes on each event once it is complete.
    fn translate_stream(
        &mut self,
        headers: &Headers,
        mut coding: ContentCoding,
        answer: &mut ChatTranslator,
    ) -> Result<io::Result<()>, UpstreamError> {
        self.client.open(200, headers)?;
        self.client.write(answer.take_events().as_bytes())?;
        let mut decoder = Decoder::with_limit(MAX_HELD);
        loop {
            let chunk = match self.next_chunk(answer) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    let reason = match &error {
                        UpstreamError::Failed(failure) if !failure.by_participant => &failure.message,
                        _ => "the participant's answer broke off",
                    };
                    send_failure(self.client, answer, reason);
                    return Err(error);
                }
            };
            answer.set_time(now(self.attempt));
            let passed = coding.decode(chunk, &mut |text| {
                let mut bytes = Vec::new();
                self.attempt.receive(&mut bytes, text);
                feed(&mut decoder, answer, &bytes, self.client)?;
                Ok(self.client.write(answer.take_events().as_bytes())?)
            });
            if let Err(error) = passed {
                self.upstream.cancel();
                if let UpstreamError::Failed(failure) = &error {
                    send_failure(self.client, answer, &failure.message);
                }
                return Err(error);
            }
            if answer.failure().is_some() {
                self.upstream.cancel();
                break;
            }
        }
        Ok(self.finish_stream(answer))
    }

    /// The next chunk of the body; `None` at its end, or where the answer is whole without it.
    fn next_chunk(&mut self, answer: &ChatTranslator) -> Result<Option<Vec<u8>>, UpstreamError> {
        loop {
            match self.upstream.next(self.client, &self.attempt.hub.timeouts) {
                Ok(Piece::Chunk(chunk)) => return Ok(Some(chunk)),
                Ok(Piece::End) => return Ok(None),
                Ok(_) => {}
                Err(error) if ends_whole(&error, answer) => {
                    self.upstream.cancel();
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the last events of a stream, records its outcome and says whether the client's connection can be kept.
    fn finish_stream(&mut self, answer: &mut ChatTranslator) -> io::Result<()> {
        answer.set_time(now(self.attempt));
        answer.end();
        let is_cut = answer.failure() == Some(CUT_SHORT);
        match answer.failure() {
            Some(reason) => self.attempt.fail(Stage::Stream, &format!("the provider broke its answer off: {reason}")),
            None => self.attempt.complete(200),
        }
        if is_cut {
            // As any stream that breaks: its last event says so, and its body does not end.
            let _ = self.client.write(answer.take_events().as_bytes());
            return Err(cut_short());
        }
        self.client.finish(&[answer.take_events()])
    }

    /// Receives a complete chat completion, an event stream or a JSON object.
    fn collect_chat(
        &mut self,
        events: bool,
        mut coding: ContentCoding,
        answer: &mut ChatTranslator,
    ) -> Result<(), UpstreamError> {
        let (mut body, mut decoder) = (Vec::new(), Decoder::with_limit(MAX_HELD));
        while let Some(chunk) = self.next_chunk(answer)? {
            let read = coding.decode(chunk, &mut |text| {
                self.attempt.receive(&mut body, text);
                if events {
                    feed(&mut decoder, answer, &std::mem::take(&mut body), self.client)
                } else {
                    reserve(self.client, answer.weight().saturating_add(body.len().saturating_mul(COPIES)))
                }
            });
            if read.is_err() {
                self.upstream.cancel();
                return read;
            }
        }
        answer.set_time(now(self.attempt));
        if !events {
            let parsed = body.len().saturating_mul(COPIES).saturating_add(parsed_bytes(&body));
            reserve(self.client, answer.weight().saturating_add(parsed))?;
        }
        let complete = if events { answer.is_whole() } else { answer.push_whole(&body) };
        let reason = || answer.failure().map_or(String::new(), |reason| format!(": {reason}"));
        if complete {
            Ok(())
        } else {
            Err(UpstreamError::provider(&format!("the provider's answer is no chat completion{}", reason())))
        }
    }
}

/// The headers of a translated body of JSON, of these of the provider.
fn json_headers(provider: Headers) -> Headers {
    let mut headers = of_translated_body(provider);
    headers.push(("Content-Type".into(), JSON.1.into()));
    headers
}

/// Sends the event that reports a failure. The caller then closes the stream before its end.
fn send_failure(client: &mut ClientResponse<'_, '_>, answer: &mut ChatTranslator, reason: &str) {
    answer.fail(reason);
    let _ = client.write(answer.take_events().as_bytes());
}

/// Whether a stream's answer is whole though its connection broke off or fell silent: some servers neither send `[DONE]`
/// nor end the body.
fn ends_whole(error: &UpstreamError, answer: &ChatTranslator) -> bool {
    answer.is_whole() && !matches!(error, UpstreamError::Disconnected)
}

/// The time since the epoch.
fn now(attempt: &Attempt<'_>) -> Duration {
    Duration::from_millis(attempt.hub.clock.now().wall)
}

/// Translates some of an event stream, as long as there is memory for the result, and sends the events that it becomes once
/// there are many.
fn feed(
    decoder: &mut Decoder,
    answer: &mut ChatTranslator,
    bytes: &[u8],
    client: &mut ClientResponse<'_, '_>,
) -> Result<(), UpstreamError> {
    let texts = (decoder.held_bytes() + bytes.len()).saturating_mul(COPIES);
    reserve(client, answer.weight().saturating_add(texts))?;
    decoder.push(bytes);
    while let Some(event) = decoder.next_event() {
        // The memory for parsing an event is reserved before it is parsed.
        let parsed = texts.saturating_add(parsed_bytes(event.data.as_bytes()));
        reserve(client, answer.weight().saturating_add(parsed))?;
        answer.push(&event.data);
        if answer.events_len() >= FLUSH {
            client.write(answer.take_events().as_bytes())?;
        }
        reserve(client, answer.weight().saturating_add(texts))?;
    }
    if decoder.has_dropped() {
        return Err(UpstreamError::provider(TOO_LONG));
    }
    reserve(client, answer.weight() + decoder.held_bytes())
}

fn reserve(client: &mut ClientResponse<'_, '_>, bytes: usize) -> Result<(), UpstreamError> {
    if client.reserve(bytes) {
        return Ok(());
    }
    // A long answer may be one without end, which counts against its participant. A short one fails since others have used the
    // memory.
    Err(if bytes > MAX_SHORT {
        UpstreamError::provider(TOO_LONG)
    } else {
        UpstreamError::limit(Stage::Provider, TOO_LONG, ErrorCode::EndpointNotReachable)
    })
}
