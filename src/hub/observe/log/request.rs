//! The outcome of one request, for its line in the log. The relay and the error responses fill it; `api::request_log` reads
//! it when the request has ended. Its fields are an allow-list: prompts, answers, headers and secrets have no field here.

use super::{LogLine, stage_word};
use crate::http::Exchange;
use crate::proto::management::ErrorCode;
use crate::proto::stage::Stage;
use crate::proto::usage::Tokens;

/// What became of a second participant that was asked beside a silent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedge {
    /// It answered first.
    Won,
    /// It did not.
    Lost,
}

impl Hedge {
    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Hedge::Won => "won",
            Hedge::Lost => "lost",
        }
    }
}

/// The outcome of a request, as its handlers record it. A field that does not apply is `None` and is not logged.
#[derive(Debug, Default)]
pub struct RequestLog {
    /// The name of the person whose key it shows.
    pub(crate) caller: Option<String>,
    /// Id of the participant of the last attempt.
    pub(crate) participant: Option<String>,
    /// The model that the client requested.
    pub(crate) model: Option<String>,
    /// The protocol as events name it, such as `chatCompletions`.
    pub(crate) protocol: Option<&'static str>,
    /// From dispatch to the first byte of the answer, milliseconds.
    pub(crate) ttft_ms: Option<u64>,
    /// Tokens of the prompt, as the provider reported them.
    pub(crate) input_tokens: Option<u64>,
    /// Tokens of the answer, as the provider reported them.
    pub(crate) output_tokens: Option<u64>,
    /// Whether a second participant that was asked beside a silent one answered first.
    pub(crate) hedge: Option<Hedge>,
    /// Where the last attempt failed.
    pub(crate) stage: Option<Stage>,
    /// The error code that the client was sent.
    pub(crate) code: Option<ErrorCode>,
    /// Whether the request is one that the file of usage has a line for.
    pub(crate) is_use: bool,
    /// The participant's model, for the file of usage.
    pub(crate) served_model: Option<String>,
    /// The tokens, for the file of usage.
    pub(crate) tokens: Tokens,
}

impl RequestLog {
    /// The record of a request, stored in its exchange.
    pub fn of<'e>(exchange: &'e mut Exchange<'_>) -> &'e mut Self {
        exchange.extension()
    }

    /// Whether the client disconnected before the answer was complete.
    pub fn is_cancelled(&self) -> bool {
        self.stage == Some(Stage::Cancelled)
    }

    /// Where the last attempt failed, in a word.
    pub fn stage_word(&self) -> Option<&str> {
        self.stage.as_ref().map(|stage| stage_word(stage.as_str()))
    }

    /// Appends the fields that are set to a line.
    pub fn write_to(&self, line: &mut LogLine) {
        line.optional_text("caller", self.caller.as_deref());
        line.optional_text("participant", self.participant.as_deref());
        line.optional_text("model", self.model.as_deref());
        line.optional_text("protocol", self.protocol);
        line.optional_number("ttftMs", self.ttft_ms);
        line.optional_number("inputTokens", self.input_tokens);
        line.optional_number("outputTokens", self.output_tokens);
        line.optional_text("hedge", self.hedge.map(Hedge::as_str));
        line.optional_text("stage", self.stage_word());
        line.optional_text("code", self.code.map(ErrorCode::as_str));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::observe::log::settings::LogFormat;

    fn written(log: &RequestLog) -> String {
        let mut line = LogLine::new(LogFormat::Text, "info", 0, "request");
        log.write_to(&mut line);
        line.finish()
    }

    #[test]
    fn fields_are_logged_in_a_fixed_order_and_only_where_they_are_set() {
        assert_eq!(written(&RequestLog::default()), "1970-01-01T00:00:00.000Z info  request\n");
        let log = RequestLog {
            caller: Some("bob".into()),
            participant: Some("ann".into()),
            model: Some("any".into()),
            protocol: Some("chatCompletions"),
            ttft_ms: Some(1),
            input_tokens: Some(2),
            output_tokens: Some(3),
            hedge: Some(Hedge::Won),
            stage: Some(Stage::Reported("Not a word".into())),
            code: Some(ErrorCode::InternalError),
            ..RequestLog::default()
        };
        let fields = "caller=bob participant=ann model=any protocol=chatCompletions ttftMs=1 inputTokens=2 outputTokens=3 \
                    hedge=won stage=participant code=INTERNAL_ERROR\n";
        assert_eq!(written(&log), format!("1970-01-01T00:00:00.000Z info  request {fields}"));
    }
}
