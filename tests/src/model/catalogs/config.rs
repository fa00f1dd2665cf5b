//! The bounds of the search: orders, budgets of faults, and the rules with their switches.

/// Index of a catalog or of a front-end.
pub type Index = usize;
/// Number of an order's key, which stands for its body too.
pub type Key = u8;
/// An epoch of the activity row.
pub type Epoch = u8;

/// The rules that have a switch; all of them on is the design.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a rule of its own, which a test switches off by its name"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Epoch and beat are one row. Off: two, so that a renewal that waited for a takeover locks and
    /// checks the row of the beat anew, and reads the epoch from its old snapshot.
    pub one_row: bool,
    /// A renewal requires the own epoch.
    pub renewal_requires_epoch: bool,
    /// The own epoch is number and holder. Off: the number.
    pub epoch_has_holder: bool,
    /// The lease counts from before the renewal or takeover was sent. Off: from its answer.
    pub lease_from_sending: bool,
    /// A renewal that finds no row deposes nobody who has moved to a newer epoch by itself.
    pub moved_is_not_deposed: bool,
    /// Nor one whose own move is under way: its answer decides.
    pub moving_is_not_deposed: bool,
    /// A catalog whose writer thread hangs does not renew.
    pub renewal_needs_writer: bool,
    /// A standby takes over after the lease that it may have seen. Off: at once.
    pub takeover_waits: bool,
    /// It counts from the receipt of the answer that showed the beat. Off: from sending the look.
    pub wait_from_receipt: bool,
    /// The takeover requires the beat that was seen. Off: the epoch alone.
    pub takeover_requires_beat: bool,
    /// A takeover with an unknown outcome leaves the process standing by. Off: it loads under the
    /// new epoch, as if it had succeeded.
    pub unknown_takeover_stands_by: bool,
    /// A takeover waits for the fences of open transactions: `epoch` is unique.
    pub takeover_waits_for_fences: bool,
    /// A load begins with the fence.
    pub load_is_fenced: bool,
    /// A batch begins with the fence.
    pub batch_is_fenced: bool,
    /// The fence has the epoch under which the batch was decided. Off: the present one.
    pub fence_of_the_decision: bool,
    /// The fence is waited for. Off: it travels in one flight with writes and COMMIT.
    pub fence_is_awaited: bool,
    /// A batch requires the journal's last row to be the one in memory.
    pub last_row_is_required: bool,
    /// Lost history counts once it is written under the own epoch. Off: at once.
    pub lost_history_is_written: bool,
    /// An unknown outcome is followed by taking the next epoch from itself. Off: by a load.
    pub bump_after_unknown: bool,
    /// That requires the own epoch. Off: it takes whichever there is.
    pub bump_requires_epoch: bool,
    /// After an unknown outcome the stock stays marked as changing until it is loaded.
    pub marked_until_loaded: bool,
    /// The database ends transactions whose client is silent.
    pub idle_transactions_end: bool,
    /// The success of a cancelled COMMIT is an unknown outcome.
    pub warning_is_unknown: bool,
    /// Renewals are replicated before they are answered.
    pub renewals_are_synchronous: bool,
    /// Statements about now need a lease.
    pub reads_need_lease: bool,
    /// They need the lease of the epoch from which the value came. Off: whichever lease there is
    /// when the answer leaves.
    pub lease_of_the_values_epoch: bool,
    /// A deposed catalog forgets its stocks. Off: it keeps them until the next load.
    pub deposed_forgets: bool,
    /// A restarted process stands by first. Off: it goes on under the epoch of its earlier run.
    pub restart_stands_by: bool,
    /// A session's lease ends with the catalog's.
    pub sessions_are_capped: bool,
    /// Each attempt to register has a new session id.
    pub new_session_ids: bool,
    /// Callers refuse statements about now of an older epoch than they have seen.
    pub older_epochs_are_refused: bool,
    /// A catalog that stops grants and renews no lease.
    pub stop_grants_nothing: bool,
    /// A catalog that stops ends every session first.
    pub stop_ends_sessions: bool,
    /// A catalog that stops says nothing about now from before `clean` is sent.
    pub silent_before_clean: bool,
    /// `clean` is written under the fence.
    pub clean_is_fenced: bool,
    /// The process exits, whatever became of `clean`. Off: it goes on if that is unknown.
    pub stop_exits: bool,
    /// Every takeover clears `clean`.
    pub takeover_clears_clean: bool,
    /// SQLite: a start clears `clean`.
    pub start_clears_clean: bool,
    /// SQLite: a catalog that stops during its own start-up wait does not set `clean`.
    pub no_clean_while_waiting: bool,
    /// A front-end takes the end of a session for a pending one too.
    pub end_counts_for_pending: bool,
    /// Only a front-end's answer to the end of its session counts. Off: its 404 too.
    pub only_its_answer_counts: bool,
    /// A front-end that stops empties its cache and forgets its session, then ends it.
    pub forgets_before_end: bool,
    /// It forgets a pending session too.
    pub forgets_pending: bool,
}

impl Rules {
    /// The design.
    pub const DESIGN: Self = Self {
        one_row: true,
        renewal_requires_epoch: true,
        epoch_has_holder: true,
        lease_from_sending: true,
        moved_is_not_deposed: true,
        moving_is_not_deposed: true,
        renewal_needs_writer: true,
        takeover_waits: true,
        wait_from_receipt: true,
        takeover_requires_beat: true,
        unknown_takeover_stands_by: true,
        takeover_waits_for_fences: true,
        load_is_fenced: true,
        batch_is_fenced: true,
        fence_of_the_decision: true,
        fence_is_awaited: true,
        last_row_is_required: true,
        lost_history_is_written: true,
        bump_after_unknown: true,
        bump_requires_epoch: true,
        marked_until_loaded: true,
        idle_transactions_end: true,
        warning_is_unknown: true,
        renewals_are_synchronous: true,
        reads_need_lease: true,
        lease_of_the_values_epoch: true,
        deposed_forgets: true,
        restart_stands_by: true,
        sessions_are_capped: true,
        new_session_ids: true,
        older_epochs_are_refused: true,
        stop_grants_nothing: true,
        stop_ends_sessions: true,
        silent_before_clean: true,
        clean_is_fenced: true,
        stop_exits: true,
        takeover_clears_clean: true,
        start_clears_clean: true,
        no_clean_while_waiting: true,
        end_counts_for_pending: true,
        only_its_answer_counts: true,
        forgets_before_end: true,
        forgets_pending: true,
    };
}

/// Where the rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In PostgreSQL, which several catalogs share.
    Postgres,
    /// In one catalog's own file: it has no lease, and waits after a start.
    Sqlite,
}

/// How often a fault may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    /// A catalog crashes and comes back.
    pub crashes: u8,
    /// The writer thread loses its connection. Its statements may still be executed.
    pub lost_connections: u8,
    /// A renewal is executed after its sender gave it up.
    pub late_renewals: u8,
    /// A COMMIT is cancelled while it waits for its replication.
    pub cancels: u8,
    /// A standby of the database is promoted, without what was not replicated.
    pub promotions: u8,
    /// A catalog stops cleanly.
    pub stops: u8,
    /// A front-end crashes and comes back.
    pub front_crashes: u8,
    /// A front-end stops cleanly and comes back.
    pub front_stops: u8,
}

/// One search: budgets and rules.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the rows lie.
    pub store: StoreKind,
    /// How many catalogs.
    pub catalogs: usize,
    /// How many front-ends.
    pub fronts: usize,
    /// Whether catalogs renew their leases.
    pub renewals: bool,
    /// How many orders.
    pub keys: Key,
    /// The highest epoch that a standby takes.
    pub epochs: Epoch,
    /// Whether the database replicates before it answers.
    pub synchronous: bool,
    /// A batch's fence, rows and COMMIT travel in one flight, and the rows depend on the fence.
    pub one_flight: bool,
    /// Front-ends of an older version do not know the message that ends a session.
    pub old_fronts: bool,
    /// Sessions that each front-end registers at most.
    pub registrations: u8,
    /// Whether front-ends renew their sessions.
    pub keep_alives: bool,
    /// Whether each state must lead to a trade.
    pub settles: bool,
    /// The faults.
    pub faults: Faults,
    /// The rules.
    pub rules: Rules,
    /// The states that must be reached, by the names of [`super::properties`].
    pub reached: Vec<&'static str>,
}
