//! The port held against CPython, and what the tests share.
#![cfg(unix)]

pub mod alignment;
mod captured_log;
pub mod chat_model;
pub mod comparison;
pub mod guide;
pub mod kept;
pub mod listener;
pub mod live_python;
pub mod python;
pub mod reentrancy;
pub mod report;
mod report_page;
pub mod scenario;
pub mod scenario_generator;
pub mod scenario_runner;
pub mod scenario_shrinker;
pub mod situation;
mod tear_down;
pub mod traced;
mod until;

pub use captured_log::CapturedLog;
pub use tear_down::TearDown;
pub use until::{until, until_by};
