//! A statement on the activity row, given up after a time.
//!
//! A driver may block for as long as the network is silent. So each connection has a thread of its
//! own, and whoever waits for an answer waits no longer than it wants to. A connection whose answer
//! did not come is given up, with the thread that still waits on it; the next statement gets a new
//! one. Its outcome stays unknown: nothing is cancelled, since a cancelled COMMIT reports success
//! for what is not replicated.

use super::{Epoch, Seen, Takeover};
use crate::store::StoreError;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bound of opening a connection.
const OPENED_WITHIN: Duration = Duration::from_millis(500);
/// Threads that may hang on connections that were given up; with so many, no other is opened.
const MAX_HANGING: usize = 8;

/// The statements on the activity row, on a connection of their own.
pub trait ActivityTable: Send {
    /// Reads the row.
    ///
    /// # Errors
    /// [`StoreError`]
    fn look(&mut self) -> Result<Seen, StoreError>;

    /// Adds one to the beat where epoch and holder are these. False without such a row.
    ///
    /// # Errors
    /// [`StoreError`]: the outcome is unknown.
    fn renew(&mut self, epoch: Epoch) -> Result<bool, StoreError>;

    /// Takes the next epoch. False when the row does not meet the requirement.
    ///
    /// # Errors
    /// [`StoreError`]: the outcome is unknown.
    fn take(&mut self, takeover: &Takeover) -> Result<bool, StoreError>;
}

/// Opens a connection for the holder that this process is.
pub type OpenTable = Arc<dyn Fn() -> Result<Box<dyn ActivityTable>, StoreError> + Send + Sync>;

/// A statement on the activity row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    Look,
    Renew(Epoch),
    Take(Takeover),
}

/// The answer to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Seen(Seen),
    /// Whether a row fitted.
    Done(bool),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The database's refusal, or that it cannot be reached.
    Refused(StoreError),
    /// None came within this time.
    Late(Duration),
    /// Too many connections hang.
    Hanging,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Late(within) => write!(f, "no answer within {} ms", within.as_millis()),
            Self::Hanging => write!(f, "{MAX_HANGING} connections to the database hang"),
        }
    }
}

/// Makes the statements, on one connection after the other.
pub struct Calls {
    open: OpenTable,
    line: Option<Line>,
    /// Threads of connections that were given up.
    hanging: Vec<JoinHandle<()>>,
}

struct Line {
    statements: Sender<Statement>,
    /// The first one says whether the connection is open.
    answers: Receiver<Result<Option<Answer>, StoreError>>,
    thread: JoinHandle<()>,
}

impl Calls {
    pub fn new(open: OpenTable) -> Self {
        Self {
            open,
            line: None,
            hanging: Vec::new(),
        }
    }

    /// Makes one statement. After an error the connection is given up.
    ///
    /// # Errors
    /// [`NoAnswer`]: of a statement that writes, the outcome is unknown.
    pub fn call(&mut self, statement: Statement, within: Duration) -> Result<Answer, NoAnswer> {
        // Taken out: on each way out but a success the connection is not used again.
        let line = match self.line.take() {
            Some(line) => line,
            None => self.open()?,
        };
        let answer = match line.statements.send(statement) {
            Ok(()) => await_answer(&line, within),
            // The thread has ended with an earlier statement; nothing was sent.
            Err(_) => Err(NoAnswer::Late(Duration::ZERO)),
        };
        match answer {
            Ok(answer) => {
                self.line = Some(line);
                Ok(answer.expect("a statement is answered"))
            }
            Err(error) => {
                self.give_up(line);
                Err(error)
            }
        }
    }

    fn open(&mut self) -> Result<Line, NoAnswer> {
        // Threads that came back meanwhile make room again.
        self.hanging.retain(|thread| !thread.is_finished());
        if self.hanging.len() >= MAX_HANGING {
            return Err(NoAnswer::Hanging);
        }
        // Room for one: a call is answered or given up before the next one, so no send ever waits.
        let (statements, waiting) = bounded(1);
        let (answered, answers) = bounded(1);
        let open = Arc::clone(&self.open);
        let thread = std::thread::Builder::new()
            .name("activity-row".into())
            .spawn(move || serve(&open, &waiting, &answered))
            .expect("the system starts a thread");
        let line = Line {
            statements,
            answers,
            thread,
        };
        // Opening runs on the new thread, too: a connect to a host that is gone would hold up the
        // renewals.
        match await_answer(&line, OPENED_WITHIN) {
            Ok(_) => Ok(line),
            Err(error) => {
                self.give_up(line);
                Err(error)
            }
        }
    }

    /// The thread is not joined: it may wait for an answer that never comes. It ends with the call
    /// in which it hangs, as nobody sends to it any more.
    fn give_up(&mut self, line: Line) {
        self.hanging.push(line.thread);
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        // Joined only where no call is under way: then the closed channel ends it.
        if let Some(line) = self.line.take() {
            drop(line.statements);
            assert!(line.thread.join().is_ok(), "a thread panicked");
        }
    }
}

fn await_answer(line: &Line, within: Duration) -> Result<Option<Answer>, NoAnswer> {
    match line.answers.recv_timeout(within) {
        Ok(answer) => answer.map_err(NoAnswer::Refused),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(NoAnswer::Late(within))
        }
    }
}

/// The thread of one connection, until one of its statements fails or nobody sends any.
fn serve(
    open: &OpenTable,
    statements: &Receiver<Statement>,
    answers: &Sender<Result<Option<Answer>, StoreError>>,
) {
    let mut table = match open() {
        Ok(table) => table,
        Err(error) => {
            // Nobody may wait any more.
            let _ = answers.try_send(Err(error));
            return;
        }
    };
    // Given up while it was being opened.
    if answers.send(Ok(None)).is_err() {
        return;
    }
    for statement in statements {
        let answer = match statement {
            Statement::Look => table.look().map(Answer::Seen),
            Statement::Renew(epoch) => table.renew(epoch).map(Answer::Done),
            Statement::Take(takeover) => table.take(&takeover).map(Answer::Done),
        };
        let failed = answer.is_err();
        // After a failure the connection's state is unknown, and the caller opens another one.
        if answers.send(answer.map(Some)).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::unbounded;

    /// A table whose renewals wait for a word of the test.
    struct Slow(Receiver<()>);

    impl ActivityTable for Slow {
        fn look(&mut self) -> Result<Seen, StoreError> {
            Err(StoreError::Damaged("no row".into()))
        }

        fn renew(&mut self, epoch: Epoch) -> Result<bool, StoreError> {
            self.0.recv().expect("the test goes on");
            Ok(epoch == 1)
        }

        fn take(&mut self, takeover: &Takeover) -> Result<bool, StoreError> {
            Ok(takeover.from == 1)
        }
    }

    fn slow() -> (Calls, Sender<()>, Receiver<()>) {
        let (go_on, waits) = unbounded();
        let (opened, opens) = unbounded();
        let open: OpenTable = Arc::new(move || {
            opened.send(()).expect("the test goes on");
            Ok(Box::new(Slow(waits.clone())))
        });
        (Calls::new(open), go_on, opens)
    }

    /// A call that hangs is given up after its time, with its connection; the next one has another.
    #[test]
    fn a_call_that_hangs_is_given_up_with_its_connection() {
        let (mut calls, go_on, opens) = slow();
        let within = Duration::from_millis(5);
        for _ in 0..MAX_HANGING {
            let late = calls.call(Statement::Renew(1), within);
            assert!(matches!(late, Err(NoAnswer::Late(_))), "{late:?}");
        }
        assert_eq!(opens.len(), MAX_HANGING);
        let hanging = calls.call(Statement::Renew(1), within);
        assert!(matches!(hanging, Err(NoAnswer::Hanging)), "{hanging:?}");
        (0..MAX_HANGING).for_each(|_| go_on.send(()).expect("they wait"));
        let threads = std::mem::take(&mut calls.hanging);
        threads.into_iter().for_each(|t| t.join().expect("ends"));
        go_on.send(()).expect("it waits");
        let soon = Duration::from_secs(60);
        let renewed = calls.call(Statement::Renew(1), soon).expect("answers");
        assert_eq!(renewed, Answer::Done(true));
    }

    /// A connection is kept while its statements succeed, and given up after one that failed.
    #[test]
    fn a_connection_is_kept_until_a_statement_fails() {
        let (mut calls, go_on, opens) = slow();
        let soon = Duration::from_secs(60);
        for epoch in [1, 2] {
            go_on.send(()).expect("it waits");
            let renewed = calls.call(Statement::Renew(epoch), soon).expect("answers");
            assert_eq!(renewed, Answer::Done(epoch == 1));
        }
        assert_eq!(opens.len(), 1);
        let refused = calls.call(Statement::Look, soon);
        assert!(matches!(refused, Err(NoAnswer::Refused(_))), "{refused:?}");
        go_on.send(()).expect("it waits");
        assert!(calls.call(Statement::Renew(1), soon).is_ok());
        assert_eq!(opens.len(), 2);
    }
}
