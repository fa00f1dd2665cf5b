//! Schedules of faults between hosts. Each begins and ends with a healthy bazaar under load.

mod catalogs;
mod cuts;
mod machines;
mod packets;
pub mod random;
mod surroundings;

use super::host::Layout;
use super::run::Run;

/// A name, and what is done.
pub type Scenario = (&'static str, fn(&mut Run));

/// The scenarios of a layout, in the sequence in which they run.
#[must_use]
pub fn of(layout: Layout) -> &'static [Scenario] {
    match layout {
        Layout::OneCatalog => &[
            ("host-kill-each", machines::kill_each),
            ("host-pause-each", machines::pause_each),
            ("host-stop-each", machines::stop_each),
            ("host-other-address", machines::other_address),
            ("host-rolling-replacement", machines::rolling_replacement),
            ("host-disconnect-each", machines::disconnect_each),
            ("host-cut-pairs", cuts::cut_pairs),
            ("host-minority-leader", cuts::minority_leader),
            ("host-catalog-leader-cut", cuts::catalog_leader_cut),
            ("host-frontend-catalog-cut", cuts::frontend_catalog_cut),
            ("host-late-packets", packets::late_packets),
            ("host-lost-packets", packets::lost_packets),
            ("host-doubled-packets", packets::doubled_packets),
            ("host-slow-link", packets::slow_link),
            ("host-names-silent", surroundings::names_silent),
            ("host-volume-full", surroundings::volume_full),
            ("host-clock-off", surroundings::clock_off),
        ],
        Layout::TwoCatalogs => &[
            ("host-ha-kill-each", machines::kill_each),
            ("host-ha-rolling-replacement", machines::rolling_replacement),
            ("host-ha-disconnect-each", machines::disconnect_each),
            ("host-ha-active-ends", catalogs::active_ends),
            ("host-ha-database-cut", catalogs::database_cut),
            ("host-ha-catalogs-cut", catalogs::catalogs_cut),
            ("host-ha-frontend-cut", catalogs::frontend_cut),
            ("host-ha-active-unreached", catalogs::active_unreached),
            ("host-ha-minority", catalogs::minority),
            ("host-ha-database-away", catalogs::database_away),
            ("host-ha-database-harm", catalogs::database_harm),
            ("host-ha-names-silent", surroundings::names_silent),
            ("host-ha-clock-off", surroundings::clock_off),
        ],
    }
}
