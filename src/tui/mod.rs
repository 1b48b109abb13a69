//! The terminal interface (feature `tui`). Screen contents and key handling are pure (`app`, `keymap`, `form`, `log`,
//! `history`, `chat`, `view`); `term` controls the terminal, `actions` and `answers` send requests to the hub. Uses the library's public API only.

mod actions;
mod answers;
mod app;
mod chat;
mod chat_keys;
mod form;
mod history;
mod keymap;
#[cfg(test)]
mod keymap_tests;
mod keys;
mod log;
pub mod term;
#[cfg(test)]
mod term_tests;
mod view;
mod wrap;

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use gambi::client::Client;

use crate::monitor::feed::Feed;
use crate::monitor::state::Update;
use crate::monitor::{HubMonitor, clock};
use actions::Actions;
pub use actions::JoinCredentials;
use answers::Answers;
use app::{Action, App, Outcome};
use chat::AnswerEvent;
use term::{Input, Screen};
pub use view::Theme;

/// Minimum time between two frames, for updates from the hub and for keys.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);
const KEY_INTERVAL: Duration = Duration::from_millis(25);
/// Without updates, ages and charts are redrawn this often.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// The most updates applied before keys are handled again.
const MAX_UPDATES_PER_TURN: usize = 5000;

/// The terminal interface's settings.
pub struct Settings {
    /// The hub, for creating rooms and joining.
    pub client: Client,
    /// Credentials for joining.
    pub credentials: JoinCredentials,
    /// The default endpoint in the join dialog.
    pub endpoint: String,
    /// Colours and symbols.
    pub theme: Theme,
    /// Suspends this process until the shell continues it.
    pub suspend: fn(),
}

/// Runs until the user quits or `stop` receives something.
///
/// # Errors
/// When the terminal can't be put into raw mode, or is gone.
pub fn run<S>(watching: HubMonitor, settings: Settings, stop: &Receiver<S>) -> io::Result<()> {
    let HubMonitor { state, feed, updates } = watching;
    let Settings { client, credentials, endpoint, theme, suspend } = settings;
    feed.poll_details();
    let (actions, outcomes) = Actions::new(client, credentials);
    let (answers, answer_events) = Answers::new();
    let screen = Screen::open()?;
    let inputs = term::inputs()?;
    let app = App::new(state, &endpoint);
    let mut ui = Ui { app, feed, updates, actions, outcomes, answers, answer_events, screen, inputs, theme, suspend };
    let ended = ui.run_until(stop);
    let Ui { actions, screen, .. } = ui;
    drop(screen);
    actions.close();
    ended
}

struct Ui {
    app: App,
    feed: Feed,
    updates: Receiver<Update>,
    actions: Actions,
    outcomes: Receiver<Outcome>,
    answers: Answers,
    answer_events: Receiver<(u64, AnswerEvent)>,
    screen: Screen,
    inputs: Receiver<Input>,
    theme: Theme,
    suspend: fn(),
}

impl Ui {
    fn run_until<S>(&mut self, stop: &Receiver<S>) -> io::Result<()> {
        let mut drawn = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            if drawn.elapsed() >= pause {
                self.draw()?;
                (drawn, pause) = (Instant::now(), IDLE_INTERVAL);
            }
            // Once a redraw is due, further updates wait in their channels until it is done.
            let (later, nothing, silent) = (never(), never(), never());
            let (updates, outcomes, answer_events) = if pause < IDLE_INTERVAL {
                (&later, &nothing, &silent)
            } else {
                (&self.updates, &self.outcomes, &self.answer_events)
            };
            let mut input = None;
            select! {
                recv(stop) -> _ => return Ok(()),
                recv(self.inputs) -> typed => match typed {
                    Ok(typed) => input = Some(typed),
                    Err(_) => return Ok(()), // The terminal is gone.
                },
                recv(updates) -> update => if let Ok(update) = update {
                    self.app.on_update(update, clock::now());
                    pause = UPDATE_INTERVAL;
                },
                recv(outcomes) -> outcome => if let Ok(outcome) = outcome {
                    self.on_outcome(outcome);
                    pause = UPDATE_INTERVAL;
                },
                recv(answer_events) -> event => if let Ok((number, event)) = event {
                    self.on_answer_event(number, event);
                    pause = UPDATE_INTERVAL;
                },
                default(pause.saturating_sub(drawn.elapsed())) => {}
            }
            if self.drain() {
                pause = pause.min(UPDATE_INTERVAL);
            }
            if let Some(input) = input {
                pause = KEY_INTERVAL;
                if !self.on_input(input)? {
                    return Ok(());
                }
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let (app, theme) = (&self.app, self.theme);
        self.screen.draw(|frame| view::draw(frame, app, theme, clock::now()))
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        if let Some(action) = self.app.on_outcome(outcome, clock::now()) {
            self.perform(action);
        }
    }

    fn on_answer_event(&mut self, number: u64, event: AnswerEvent) {
        // The queue that it waits in is shown too.
        if matches!(event, AnswerEvent::Waiting { .. }) {
            self.feed.poll();
        }
        self.app.on_answer_event(number, event);
    }

    /// Handles input. False to quit.
    fn on_input(&mut self, input: Input) -> io::Result<bool> {
        let Input::Key(key) = input else { return Ok(true) };
        match self.app.on_key(&key, clock::now()) {
            None => {}
            Some(Action::Quit) => return Ok(false),
            Some(Action::Redraw) => self.screen.clear()?,
            Some(Action::Suspend) => self.screen.suspend(self.suspend)?,
            Some(action) => self.perform(action),
        }
        Ok(true)
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Poll => self.feed.poll(),
            Action::Unlock(room, password) => {
                self.feed.unlock(&room, &password);
                self.feed.watch(self.app.state.watched());
            }
            Action::Create(name, password, private) => self.actions.create(name, password, private),
            Action::Join(request) => self.actions.join(request),
            Action::Leave(room, id) => self.actions.leave(room, id),
            Action::Ask(request) => {
                let client = self.feed.client(&request.room);
                if let Err(error) = self.answers.ask(&client, request) {
                    self.app.chats.fail(&format!("No thread can be started: {error}"));
                }
            }
            Action::StopAnswer => self.answers.stop(),
            Action::Quit | Action::Suspend | Action::Redraw => {}
        }
    }

    /// Applies all waiting updates and outcomes. True if the screen changed.
    fn drain(&mut self) -> bool {
        let now = clock::now();
        let mut changed = self.app.expire_notice(now);
        for update in self.updates.try_iter().take(MAX_UPDATES_PER_TURN) {
            self.app.on_update(update, now);
            changed = true;
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            changed = true;
            self.on_outcome(outcome);
        }
        for _ in 0..MAX_UPDATES_PER_TURN {
            let Ok((number, event)) = self.answer_events.try_recv() else { break };
            self.on_answer_event(number, event);
            changed = true;
        }
        for panic in term::panics() {
            self.app.log.record(now, true, "", &panic);
            changed = true;
        }
        self.feed.watch(self.app.state.watched());
        changed
    }
}
