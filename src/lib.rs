//! Rooms for the local LLMs of a network: a hub, participants on tunnels, and one OpenAI-compatible address for all.
//!
//! What lives where: [`hub`] is the server, [`participant`] the runtime beside a provider, [`client`] the calls to a hub
//! and the talk with a room, [`discovery`] the search for hubs, [`provider`] an echo to try things with; [`proto`] is what
//! goes over the wire, [`state`] the rules of rooms and participants.
//!
//! # Embedding a participant
//!
//! The smallest runtime: it probes the provider, registers, opens the tunnel, and serves until the session ends.
//!
//! ```no_run
//! use gambi::participant::Session;
//!
//! let session = Session::builder("http://localhost:3000", "ABC234")
//!     .participant_id("worker-1")
//!     .nickname("Worker 1")
//!     .model("llama3")
//!     .endpoint("http://localhost:11434")
//!     .start()?;
//! let end = session.wait_until_closed();
//! println!("it ended: {}", end.reason);
//! # Ok::<(), gambi::Error>(())
//! ```
//!
//! # Why a session ends, and what to do about it
//!
//! ```no_run
//! use gambi::participant::{CloseReason, Session};
//! # fn demo(session: Session) {
//! let end = session.wait_until_closed();
//! match end.reason {
//!     CloseReason::Closed => println!("we asked for it"),
//!     CloseReason::HeartbeatFailed => println!("the hub does not know us any more: register again"),
//!     CloseReason::TunnelClosed => println!("the connection is gone: start a new session, or use Reconnect"),
//! }
//! if let Some(error) = end.error {
//!     println!("the last error was: {error}");
//! }
//! # }
//! ```
//!
//! [`participant::Reconnect`] does the starting again: with a pause that grows, for as long as it may heal.
//!
//! # Shutting down on signals
//!
//! A [`participant::SessionHandle`] closes the session from wherever a signal is heard, here from a channel.
//!
//! ```no_run
//! # use std::{sync::mpsc::Receiver, thread};
//! # fn demo(session: gambi::participant::Session, signals: Receiver<()>) {
//! let handle = session.handle();
//! thread::spawn(move || {
//!     if signals.recv().is_ok() {
//!         handle.close(); // removes the participant and closes the tunnel; safe to call twice
//!     }
//! });
//! session.wait_until_closed();
//! # }
//! ```
//!
//! # Credentials, machine, capabilities, passwords
//!
//! Auth headers go to the provider and to nobody else.
//!
//! ```no_run
//! use gambi::participant::{Session, machine_specs};
//! use gambi::proto::management::{Capabilities, Support};
//!
//! let session = Session::builder("https://hub.example", "ABC234")
//!     .participant_id("vllm-1")
//!     .model("qwen3")
//!     .endpoint("http://localhost:8000")
//!     .auth_header("Authorization", "Bearer only-for-vllm")
//!     .password("the room's")
//!     .specs(machine_specs())
//!     .capabilities(Capabilities { open_responses: Support::Unsupported, chat_completions: Support::Supported })
//!     .concurrency(8)
//!     .start()?;
//! # Ok::<(), gambi::Error>(())
//! ```
//!
//! # Several in one process, and the complete program
//!
//! Sessions are independent. This program runs as it stands: hub, provider, two participants, and a question to each.
//!
//! ```
//! use gambi::client::Client;
//! use gambi::hub::{Hub, HubOptions};
//! use gambi::participant::Session;
//! use gambi::proto::management::CreateRoom;
//! use gambi::provider::{Provider, ProviderOptions};
//!
//! let hub = Hub::bind(HubOptions { host: "127.0.0.1".into(), port: 0, ..Default::default() })?;
//! let provider = Provider::bind(ProviderOptions { port: 0, ..Default::default() })?;
//! let client = Client::new(&format!("http://{}", hub.addr()))?;
//! let code = client.rooms().create(&CreateRoom { name: "Lab".into(), ..Default::default() })?.room.code;
//! let join = |id: &str| {
//!     let session = Session::builder(client.hub_url(), &code).participant_id(id).model("echo");
//!     session.endpoint(format!("http://{}", provider.addr())).start()
//! };
//! let sessions = [join("ann")?, join("bob")?];
//! for session in &sessions {
//!     let id = &session.participant().id;
//!     let answer = client.room(&code).chat().participant(id).user("Who are you?").send()?;
//!     assert_eq!(&answer.participant, id);
//!     assert!(answer.text.ends_with("Who are you?"));
//! }
//! # Ok::<(), gambi::Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod budget;
pub mod client;
#[cfg(feature = "mdns")]
pub mod discovery;
pub mod error;
mod http;
pub mod hub;
mod machine;
mod names;
pub mod participant;
pub mod proto;
pub mod provider;
pub mod state;
mod trust;
mod tunnel;

pub use error::Error;
