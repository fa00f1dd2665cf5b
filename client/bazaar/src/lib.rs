//! `bazaar`: starts all services on this machine, watches them, kills and restarts one of them.
//!
//! | module | one idea |
//! |---|---|
//! | [`launcher`] | `bazaar run`: a cluster with its logs on the terminal, and the control socket of `bazaar kill` and `restart` |
//! | [`status`] | `bazaar status`: the cluster on one screen |
//! | [`backup`] | `bazaar backup` and `bazaar restore`: one consistent, verified set of files |
//! | [`demo`] | half a minute that shows the whole system |
//!
//! Threads: one that starts processes, for the life of the program (see [`cluster`] for why); one
//! that listens on the launcher's control socket. A cluster's logs go to files, never through a
//! pipe, so that a slow terminal cannot hold a service up.
//!
//! Not here on purpose: the launcher restarts nothing by itself, since a user who tries a crash
//! wants to see it.

pub mod backup;
pub mod demo;
pub mod launcher;
pub mod status;
