//! Messages that a front-end's internal listener answers.

use crate::wire::catalog::SessionId;
use serde::{Deserialize, Serialize};

/// `POST /invalidate`: the catalog is about to change these stocks. No names: the probe of a
/// registration. Acknowledged (200, `{}`) once nothing of them can be read from the cache; 409 when
/// the session is not this front-end's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidateRequest {
    /// The session that the push is for.
    pub session: SessionId,
    /// Names of the stocks.
    pub names: Vec<String>,
}

/// `POST /sessions/end`: the catalog ends this session, since it serves no stock any more.
/// Acknowledged (200, `{}`) once nothing can be read from the cache under it; 409 when the session
/// is not this front-end's, which holds nothing under it then either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSessionRequest {
    /// The session.
    pub session: SessionId,
}

/// Answer to `GET /cache`: what this front-end holds now, for people and the evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedNames {
    /// Names of the cached stocks, the most recently used one first.
    pub names: Vec<String>,
}
