//! The terminal interface (feature `tui`). What is on the screen and what keys do is pure (`app`, `press`, `form`, `log`,
//! `history`, `view`); `term` is the terminal, `desk` what is done at a person's word. It uses the library's public API only.

mod app;
mod desk;
mod form;
mod history;
mod keys;
mod log;
mod press;
#[cfg(test)]
mod press_tests;
pub mod term;
#[cfg(test)]
mod term_tests;
mod view;

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use gambi::client::Client;

use crate::monitor::feed::Feed;
use crate::monitor::state::News;
use crate::monitor::{Watching, clock};
use app::{Act, Answer, App};
use desk::Desk;
pub use desk::Means;
use term::{Input, Screen};
pub use view::Look;

/// The screen is drawn at most so often for what happens elsewhere, and for keys.
const NEWS_EVERY: Duration = Duration::from_millis(100);
const KEYS_EVERY: Duration = Duration::from_millis(25);
/// Ages and charts move, even where nothing happens.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// News that are taken in before keys are looked at again.
const AT_ONCE: usize = 5000;

/// What the terminal interface needs to know.
pub struct Settings {
    /// The hub, to make rooms on.
    pub client: Client,
    /// What joining needs.
    pub means: Means,
    /// The endpoint that joining begins with.
    pub endpoint: String,
    /// How things look.
    pub look: Look,
    /// Stops this process until the shell continues it.
    pub suspend: fn(),
}

/// Shows a hub until the person quits, or something stops it.
///
/// # Errors
/// When the terminal can't be taken over, or is gone.
pub fn run<S>(watching: Watching, settings: Settings, stop: &Receiver<S>) -> io::Result<()> {
    let Watching { state, feed, news } = watching;
    let Settings { client, means, endpoint, look, suspend } = settings;
    let (desk, answers) = Desk::new(client, means);
    let screen = Screen::open()?;
    let inputs = term::inputs()?;
    let app = App::new(state, &endpoint);
    let mut monitor = Monitor { app, feed, news, desk, answers, screen, inputs, look, suspend };
    let ended = monitor.go_on(stop);
    let Monitor { desk, screen, .. } = monitor;
    drop(screen);
    desk.close();
    ended
}

struct Monitor {
    app: App,
    feed: Feed,
    news: Receiver<News>,
    desk: Desk,
    answers: Receiver<Answer>,
    screen: Screen,
    inputs: Receiver<Input>,
    look: Look,
    suspend: fn(),
}

impl Monitor {
    fn go_on<S>(&mut self, stop: &Receiver<S>) -> io::Result<()> {
        let mut drawn = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            if drawn.elapsed() >= pause {
                let (app, look) = (&self.app, self.look);
                self.screen.draw(|frame| view::draw(frame, app, look, clock::now()))?;
                (drawn, pause) = (Instant::now(), CLOCK_EVERY);
            }
            // Once there is something new to be seen, more of it can wait until it is.
            let (later, nothing) = (never(), never());
            let (news, answers) = if pause < CLOCK_EVERY { (&later, &nothing) } else { (&self.news, &self.answers) };
            let mut input = None;
            select! {
                recv(stop) -> _ => return Ok(()),
                recv(self.inputs) -> typed => match typed {
                    Ok(typed) => input = Some(typed),
                    // Nobody can type any more.
                    Err(_) => return Ok(()),
                },
                recv(news) -> news => if let Ok(news) = news {
                    self.app.hear(news, clock::now());
                    pause = NEWS_EVERY;
                },
                recv(answers) -> answer => if let Ok(answer) = answer {
                    self.answered(answer);
                    pause = NEWS_EVERY;
                },
                default(pause.saturating_sub(drawn.elapsed())) => {}
            }
            if self.hear() {
                pause = pause.min(NEWS_EVERY);
            }
            if let Some(input) = input {
                pause = KEYS_EVERY;
                if !self.take(input)? {
                    return Ok(());
                }
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        if let Some(act) = self.app.answered(answer, clock::now()) {
            self.act(act);
        }
    }

    /// Takes input in; false to end.
    fn take(&mut self, input: Input) -> io::Result<bool> {
        let Input::Key(key) = input else { return Ok(true) };
        match self.app.press(&key, clock::now()) {
            None => {}
            Some(Act::Quit) => return Ok(false),
            Some(Act::Redraw) => self.screen.clear()?,
            Some(Act::Suspend) => self.screen.lend(self.suspend)?,
            Some(act) => self.act(act),
        }
        Ok(true)
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Look => self.feed.look(),
            Act::Unlock(room, password) => {
                self.feed.unlock(&room, &password);
                self.feed.watch(self.app.state.watched());
            }
            Act::Create(name, password, private) => self.desk.create(name, password, private),
            Act::Join(joining) => self.desk.join(joining),
            Act::Leave(room, id) => self.desk.leave(room, id),
            Act::Quit | Act::Suspend | Act::Redraw => {}
        }
    }

    /// Takes in what has been heard; true when there is something new to be seen.
    fn hear(&mut self) -> bool {
        let now = clock::now();
        let mut heard = self.app.tidy(now);
        for news in self.news.try_iter().take(AT_ONCE) {
            self.app.hear(news, now);
            heard = true;
        }
        while let Ok(answer) = self.answers.try_recv() {
            heard = true;
            self.answered(answer);
        }
        for panic in term::panics() {
            self.app.log.note(now, true, "", &panic);
            heard = true;
        }
        self.feed.watch(self.app.state.watched());
        heard
    }
}
