//! Reads that the cache does not answer: [`lookups`] of stocks at the catalog, `queries` for one
//! order and `pages` of orders at the replicas (`replicas`).

pub mod lookups;
pub(crate) mod pages;
pub(crate) mod queries;
pub(crate) mod replicas;
