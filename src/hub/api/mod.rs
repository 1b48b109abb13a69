//! The routes: which path means what, and how each is answered.

pub mod dashboard;
pub mod events;
pub mod inference;
pub mod legacy;
pub mod list;
pub mod management;
pub mod metrics;
pub mod minify;
pub mod openapi;
pub mod registration;
pub mod request_log;
pub mod responses;
pub mod routes;
