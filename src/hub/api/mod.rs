//! The HTTP API: the table of routes and their handlers.

mod cors;
mod dashboard;
mod default_room;
mod embedded;
pub mod events;
pub mod inference;
pub mod invitation;
pub mod legacy;
pub mod list;
pub mod management;
pub mod metrics;
pub mod model_names;
pub mod models;
pub mod ollama;
pub mod openapi;
mod path_repair;
pub mod registration;
pub mod request_log;
pub mod responses;
pub mod routes;
