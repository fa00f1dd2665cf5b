//! A bazaar that runs elsewhere. A URL names it, and shell commands of the user kill it and set it
//! up.

use super::{CacheSetting, ReplicaAction};
use crate::tables::Fact;
use client::api::Api;
use cluster::wait;
use common::wire::public::{ReplicaState, Status};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest time from a command until the bazaar is ready.
const READY: Duration = Duration::from_secs(60);

/// The settings for a bazaar elsewhere. In commands, `{id}` stands for a replica's id (a command
/// without `{id}` gets the id as its last word), `{cache}` for `on` or `off`, and `{size}` for the
/// cache's capacity.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere {
    pub url: String,
    /// URL of the front-end's internal listener.
    pub internal: Option<String>,
    /// Bearer token of internal calls.
    pub token: Option<String>,
    pub kill: Option<String>,
    pub restart: Option<String>,
    pub pause: Option<String>,
    pub resume: Option<String>,
    /// Restarts the front-end with another cache.
    pub frontend: Option<String>,
    /// Prints `order verify` of all replicas' files.
    pub verify: Option<String>,
    /// Prints `order dump` of one of these files.
    pub dump: Option<String>,
}

/// A bazaar elsewhere that answers.
#[derive(Debug)]
pub struct Remote {
    place: Elsewhere,
    setting: Option<CacheSetting>,
}

impl Remote {
    pub(super) fn find(place: &Elsewhere) -> Result<Self, String> {
        let remote = Self {
            place: place.clone(),
            setting: None,
        };
        remote.wait_ready()?;
        Ok(remote)
    }

    fn wait_ready(&self) -> Result<(), String> {
        let api = Api::new(&self.place.url);
        let mut last = String::new();
        let ready = wait::until(READY, || match api.get("/readyz") {
            Ok(answer) if answer.status == 200 => Some(()),
            Ok(answer) => {
                last = format!("{}: {}", answer.status, answer.body);
                None
            }
            Err(error) => {
                last = error.to_string();
                None
            }
        });
        ready.ok_or_else(|| format!("the bazaar at {} is not ready: {last}", self.place.url))
    }

    pub(super) fn url(&self) -> String {
        self.place.url.clone()
    }

    pub(super) fn internal(&self) -> Option<Api> {
        let api = Api::new(self.place.internal.as_deref()?);
        Some(match &self.place.token {
            Some(token) => api.with_token(token),
            None => api,
        })
    }

    pub(super) fn sets_cache(&self) -> bool {
        self.place.frontend.is_some()
    }

    pub(super) fn set_cache(&mut self, setting: CacheSetting) -> Result<(), String> {
        let Some(command) = self
            .place
            .frontend
            .clone()
            .filter(|_| self.setting != Some(setting))
        else {
            return Ok(());
        };
        let size = setting.capacity.map(|n| n.to_string()).unwrap_or_default();
        shell(
            &command
                .replace("{cache}", &setting.cache.to_string())
                .replace("{size}", &size),
        )?;
        self.wait_ready()?;
        self.setting = Some(setting);
        Ok(())
    }

    fn command(&self, deed: ReplicaAction) -> Option<&String> {
        match deed {
            ReplicaAction::Kill => self.place.kill.as_ref(),
            ReplicaAction::Restart => self.place.restart.as_ref(),
            ReplicaAction::Pause => self.place.pause.as_ref(),
            ReplicaAction::Resume => self.place.resume.as_ref(),
        }
    }

    pub(super) fn can(&self, deed: ReplicaAction) -> bool {
        self.command(deed).is_some()
    }

    pub(super) fn act(&self, deed: ReplicaAction, replicas: &[u8]) -> Result<(), String> {
        let command = self
            .command(deed)
            .ok_or_else(|| format!("no command was given to {deed:?} a replica"))?;
        // All at once: each command may open a connection first, and two replicas must die
        // together.
        let of = |id: &u8| match command.contains("{id}") {
            true => command.replace("{id}", &id.to_string()),
            false => format!("{command} {id}"),
        };
        let commands: Vec<String> = replicas.iter().map(of).collect();
        std::thread::scope(|scope| {
            let running: Vec<_> = commands
                .iter()
                .map(|command| scope.spawn(|| shell(command).map(drop)))
                .collect();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().expect("a command's thread does not panic"))
        })
    }

    pub(super) fn verify(&self) -> Result<Option<String>, String> {
        self.place.verify.as_deref().map(shell).transpose()
    }

    pub(super) fn dump(&self) -> Result<Option<String>, String> {
        self.place.dump.as_deref().map(shell).transpose()
    }

    pub(super) fn facts(&self) -> Vec<Fact> {
        let known = |what: bool| if what { "yes" } else { "no" };
        vec![
            Fact::new("place", "elsewhere"),
            Fact::new("sets_cache", known(self.sets_cache())),
            Fact::new("internal", known(self.place.internal.is_some())),
        ]
    }
}

/// Whether these replicas follow with every order up to `last`. The front-end's view of them may
/// be 200 ms old.
pub(super) fn follow_again(status: &Status, replicas: &[u8], last: Option<u64>) -> bool {
    replicas.iter().all(|id| {
        status.replicas.iter().any(|replica| {
            let follows = matches!(replica.state, ReplicaState::Follower | ReplicaState::Leader);
            u8::from(replica.id) == *id && follows && replica.last >= last
        })
    })
}

fn shell(command: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|e| format!("cannot run sh: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("'{command}' ended with {}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands get the replica's id; an error names the command that failed or is missing.
    #[test]
    fn commands() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display();
        let place = Elsewhere {
            kill: Some(format!("touch {path}/{{id}}")),
            restart: Some("exit 3".into()),
            dump: Some("echo number".into()),
            ..Elsewhere::default()
        };
        let remote = Remote {
            place,
            setting: None,
        };
        remote.act(ReplicaAction::Kill, &[1, 3]).expect("done");
        assert!(folder.path().join("1").exists() && folder.path().join("3").exists());
        assert!(
            remote
                .act(ReplicaAction::Restart, &[1])
                .expect_err("fails")
                .contains("exit 3")
        );
        assert!(
            !remote.can(ReplicaAction::Pause) && remote.act(ReplicaAction::Pause, &[1]).is_err()
        );
        assert_eq!(remote.dump(), Ok(Some("number\n".into())));
        assert_eq!(remote.verify(), Ok(None));
    }
}
