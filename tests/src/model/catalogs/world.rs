//! The whole system: database, catalogs, front-ends, and the statements between.

use super::catalog::{Catalog, Memory, Outcome, Role, Session, Stage};
use super::config::{Config, Epoch, Faults, Index, Key, StoreKind};
use super::front::Front;
use super::store::{Phase, Requires, STALE, Statement, Store, Task, Waits};
use std::collections::BTreeSet;

/// A state of the system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The database.
    pub store: Store,
    /// The rows of a standby of the database, when they are fewer.
    pub replicated: Option<Box<Store>>,
    /// Statements on their way, sorted.
    pub statements: Vec<Statement>,
    /// The catalogs.
    pub catalogs: Vec<Catalog>,
    /// The front-ends.
    pub fronts: Vec<Front>,
    /// Ends of sessions on their way from front-ends, sorted: the session, and the catalog.
    pub ends: Vec<(Session, Index)>,
    /// Registrations that were given up and may still arrive, sorted: only with session ids that
    /// are used again.
    pub strays: Vec<(Session, Index)>,
    /// The rows up to the newest one that was acknowledged.
    pub acknowledged: Vec<Key>,
    /// The database lost rows that were acknowledged.
    pub rows_lost: bool,
    /// Faults that may still happen.
    pub faults: Faults,
    /// The violations so far.
    pub broken: BTreeSet<Broken>,
}

/// Events that must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// One key or number got two different verdicts.
    TwoVerdicts,
    /// A number was left out.
    Gap,
    /// History was called lost although the database lost nothing.
    LostWrongly,
    /// A reader got a value that was no longer current when it came.
    Stale,
    /// A catalog stood by although nobody had taken its epoch.
    DeposedItself,
    /// A caller got an older value of an older epoch.
    WentBack,
}

/// A lease, or one on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// A catalog's lease.
    Catalog(Index),
    /// A front-end's.
    Session(Index),
    /// That of its registration.
    Registration(Index),
    /// That of its keep-alive.
    KeepAlive(Index),
}

impl World {
    /// The first catalog is active, the others stand by.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut catalogs = vec![Catalog::default(); config.catalogs];
        if let Some(first) = catalogs.first_mut() {
            first.role = Role::Active { epoch: 1, since: 1 };
            first.lease = (config.store == StoreKind::Postgres).then_some(0);
            first.memory = Some(Memory {
                rows: Vec::new(),
                since: 1,
            });
        }
        Self {
            store: Store {
                epoch: 1,
                holder: 0,
                clean: false,
                beat: 0,
                rows: Vec::new(),
                lost: false,
            },
            replicated: None,
            statements: Vec::new(),
            catalogs,
            fronts: vec![
                Front {
                    registrations: config.registrations,
                    ..Front::default()
                };
                config.fronts
            ],
            ends: Vec::new(),
            strays: Vec::new(),
            acknowledged: Vec::new(),
            rows_lost: false,
            faults: config.faults,
            broken: BTreeSet::new(),
        }
    }

    /// Puts a statement on its way.
    pub fn post(&mut self, from: Index, epoch: Epoch, task: Task, phase: Phase) {
        self.statements.push(Statement {
            from,
            attached: true,
            epoch,
            task,
            phase,
        });
    }

    /// The statement that the writer thread of a catalog waits for.
    #[must_use]
    pub fn writes(&self, catalog: Index) -> Option<&Statement> {
        self.statements
            .iter()
            .find(|s| s.from == catalog && s.attached && !s.is_renewal())
    }

    /// The renewal that a catalog waits for.
    #[must_use]
    pub fn renews(&self, catalog: Index) -> Option<&Statement> {
        self.statements
            .iter()
            .find(|s| s.from == catalog && s.attached && s.is_renewal())
    }

    /// Whether a catalog's lease runs. One with its own file needs none.
    #[must_use]
    pub fn leased(&self, config: &Config, catalog: Index) -> bool {
        config.store == StoreKind::Sqlite || self.catalogs[catalog].lease.is_some()
    }

    /// Whether a catalog makes statements about now, whatever its lease.
    #[must_use]
    pub fn speaks(&self, config: &Config, catalog: Index) -> bool {
        let own = &self.catalogs[catalog];
        let silent = own.stopping == Some(Stage::Silent) && config.rules.silent_before_clean;
        own.epoch().is_some() && own.memory.is_some() && !silent && !own.lost
    }

    /// Whether a catalog would answer a reader now.
    #[must_use]
    pub fn answers(&self, config: &Config, catalog: Index) -> bool {
        self.speaks(config, catalog)
            && self.values_epoch_is_current(catalog)
            && (self.leased(config, catalog) || !config.rules.reads_need_lease)
    }

    /// Whether the stocks in memory are of the present takeover.
    fn values_epoch_is_current(&self, catalog: Index) -> bool {
        let own = &self.catalogs[catalog];
        match (own.role, &own.memory) {
            (Role::Active { since, .. }, Some(memory)) => memory.since == since,
            _ => false,
        }
    }

    /// The value that a catalog's readers see.
    #[must_use]
    pub fn visible(&self, catalog: Index) -> u8 {
        let memory = self.catalogs[catalog].memory.as_ref();
        memory.map_or(0, |memory| length(&memory.rows))
    }

    /// Whether the stock may not be cached.
    #[must_use]
    pub fn marked(&self, config: &Config, catalog: Index) -> bool {
        self.catalogs[catalog]
            .batch
            .as_ref()
            .is_some_and(|b| b.outcome != Outcome::Unknown || config.rules.marked_until_loaded)
    }

    /// Whether a value is older than what was acknowledged.
    #[must_use]
    pub fn is_stale(&self, value: u8) -> bool {
        value < length(&self.acknowledged)
    }

    /// The rows of a catalog are acknowledged up to their end.
    pub fn acknowledge(&mut self, catalog: Index) {
        let own = &self.catalogs[catalog];
        let Some(memory) = &own.memory else { return };
        let both = memory.rows.len().min(self.acknowledged.len());
        if memory.rows[..both] != self.acknowledged[..both] {
            // Where the database lost rows, the leader finds others in its log, and refuses them.
            if !self.rows_lost {
                self.broken.insert(Broken::TwoVerdicts);
            }
            return;
        }
        if memory.rows.len() > self.acknowledged.len() {
            self.acknowledged.clone_from(&memory.rows);
        }
    }

    /// Calls a function with each lease that runs, or that may come from a call on its way.
    pub fn each_lease(&mut self, mut call: impl FnMut(&mut Waits)) {
        for catalog in &mut self.catalogs {
            catalog.lease.iter_mut().for_each(&mut call);
        }
        for statement in self.statements.iter_mut().filter(|s| s.attached) {
            if let Task::Renewal(lease) | Task::Takeover(_, lease) = &mut statement.task {
                call(lease);
            }
        }
        for front in &mut self.fronts {
            front.lease.iter_mut().for_each(&mut call);
            for pending in [&mut front.pending, &mut front.keep_alive]
                .into_iter()
                .flatten()
            {
                pending.lease.iter_mut().for_each(&mut call);
            }
        }
    }

    /// A catalog's wait begins: for each lease that began before.
    pub fn begin_wait(&mut self, catalog: Index) {
        self.each_lease(|waits| *waits |= 1 << catalog);
    }

    /// Whether the wait of a catalog is over.
    #[must_use]
    pub fn waited(&self, catalog: Index) -> bool {
        let mut world = self.clone();
        let mut over = true;
        world.each_lease(|waits| over &= *waits >> catalog & 1 == 0);
        over
    }

    /// The lease of a timer.
    pub fn timer(&mut self, timer: Timer) -> Option<&mut Option<Waits>> {
        match timer {
            Timer::Catalog(own) => Some(&mut self.catalogs[own].lease),
            Timer::Session(own) => Some(&mut self.fronts[own].lease),
            Timer::Registration(own) => self.fronts[own].pending.as_mut().map(|c| &mut c.lease),
            Timer::KeepAlive(own) => self.fronts[own].keep_alive.as_mut().map(|c| &mut c.lease),
        }
    }

    /// An id that nobody knows. Ids are used again only when all have forgotten them, so that
    /// states do not differ by how many there were.
    #[must_use]
    pub fn fresh_session(&self, config: &Config, front: Index) -> Session {
        let used = |session: Session| {
            self.fronts[front].knows(session)
                || self.catalogs.iter().any(|c| {
                    c.sessions.contains(&session)
                        || c.batch
                            .as_ref()
                            .is_some_and(|b| b.outstanding.contains(&session))
                })
                || self.ends.iter().any(|(other, _)| *other == session)
        };
        let fresh = (0..u8::MAX).find(|id| !config.rules.new_session_ids || !used((front, *id)));
        (front, fresh.unwrap_or(u8::MAX))
    }

    /// Brings states to one form that differ only in what nobody can notice.
    pub fn normalise(&mut self, config: &Config) {
        self.statements.retain(|s| s.attached || !s.is_over());
        self.rename_beats(config);
        for statement in self.statements.iter_mut().filter(|s| !s.attached) {
            if let Task::Renewal(lease) | Task::Takeover(_, lease) = &mut statement.task {
                *lease = 0;
            }
        }
        for own in 0..self.catalogs.len() {
            let waits = match self.catalogs[own].role {
                Role::Standby { watch, looking } => watch.is_some() || looking,
                Role::Waiting => true,
                Role::Active { .. } => false,
            };
            if !waits {
                self.each_lease(|lease| *lease &= !(1 << own));
            }
        }
        self.statements.sort_unstable();
        self.statements.dedup();
    }
}

impl World {
    /// The present beat is 0, that of the database's standby 1 when it is another one, and every
    /// other one [`STALE`]: a beat is only ever compared with these. A standby forgets a beat that
    /// is gone, as no takeover can require it.
    fn rename_beats(&mut self, config: &Config) {
        let current = self.store.beat;
        let behind = self.replicated.as_ref().map(|store| store.beat);
        let rename = |beat: &mut u8| {
            *beat = if *beat == current {
                0
            } else if Some(*beat) == behind {
                1
            } else {
                STALE
            };
        };
        let epochs = [
            Some(self.store.epoch),
            self.replicated.as_ref().map(|store| store.epoch),
        ];
        for catalog in &mut self.catalogs {
            let Role::Standby { watch, .. } = &mut catalog.role else {
                continue;
            };
            if let Some((epoch, beat)) = watch {
                rename(beat);
                let stale = *beat == STALE && config.rules.takeover_requires_beat;
                if stale || !epochs.contains(&Some(*epoch)) {
                    *watch = None;
                }
            }
        }
        for statement in &mut self.statements {
            if let Task::Takeover(Requires::Beat(beat), _) = &mut statement.task {
                rename(beat);
            }
        }
        rename(&mut self.store.beat);
        if let Some(store) = &mut self.replicated {
            rename(&mut store.beat);
        }
    }
}

/// A length of the model, where there are few rows.
///
/// # Panics
/// Beyond 255.
#[must_use]
pub fn length(rows: &[Key]) -> u8 {
    u8::try_from(rows.len()).expect("a model has few rows")
}
