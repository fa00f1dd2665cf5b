//! Names of the services of a cluster.

use std::fmt;
use std::str::FromStr;

/// A service of a cluster. The order is that in which a cluster starts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The catalog; the first of several.
    Catalog,
    /// A further catalog that shares the first one's database, counted from 2.
    OtherCatalog(u8),
    /// A replica of the order service, by its id.
    Order(u8),
    /// A front-end, counted from 1.
    Frontend(u8),
}

impl Service {
    /// File name of its binary.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Catalog | Self::OtherCatalog(_) => "catalog",
            Self::Order(_) => "order",
            Self::Frontend(_) => "frontend",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog => f.pad("catalog"),
            Self::OtherCatalog(n) => f.pad(&format!("catalog{n}")),
            Self::Order(id) => f.pad(&format!("order{id}")),
            // Most bazaars have one, and its name needs no number.
            Self::Frontend(1) => f.pad("frontend"),
            Self::Frontend(n) => f.pad(&format!("frontend{n}")),
        }
    }
}

impl FromStr for Service {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no service: write catalog, order1 to order3 (or 1 to 3), or frontend; \
                 of several catalogs or front-ends the others are catalog2, frontend2 and so on"
            )
        };
        // 0 is nobody's number: ids begin with 1.
        let number = |digits: &str| digits.parse().ok().filter(|n| *n > 0).ok_or_else(wrong);
        match text {
            "catalog" => Ok(Self::Catalog),
            "frontend" => Ok(Self::Frontend(1)),
            _ if text.starts_with("catalog") => {
                let n = number(&text["catalog".len()..])?;
                Ok(if n == 1 {
                    Self::Catalog
                } else {
                    Self::OtherCatalog(n)
                })
            }
            _ => match (text.strip_prefix("order"), text.strip_prefix("frontend")) {
                // `order-3` is how the service names itself in its log.
                (Some(id), _) => number(id.trim_start_matches('-')).map(Self::Order),
                (_, Some(n)) => number(n).map(Self::Frontend),
                _ => number(text).map(Self::Order),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name parses back; a bare number is a replica; the error for another word lists the
    /// names.
    #[test]
    fn every_name_parses_back() {
        for service in [
            Service::Catalog,
            Service::OtherCatalog(2),
            Service::Order(3),
            Service::Frontend(1),
            Service::Frontend(2),
        ] {
            assert_eq!(service.to_string().parse(), Ok(service));
        }
        assert_eq!("2".parse(), Ok(Service::Order(2)));
        assert_eq!("order-2".parse(), Ok(Service::Order(2)));
        for wrong in [
            "",
            "0",
            "order",
            "order0",
            "clerk",
            "frontendx",
            "-1",
            "catalog0",
            "catalogue",
        ] {
            assert!(
                wrong
                    .parse::<Service>()
                    .expect_err(wrong)
                    .contains("catalog, order1")
            );
        }
    }
}
