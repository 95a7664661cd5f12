//! How much the error log says, by area: names that an operator understands for the modules behind them.

use env_filter::{Builder, Filter};
use log::LevelFilter;

/// A part of the proxy whose level can be set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) name: &'static str,
    /// The modules it stands for, with those below them.
    modules: &'static [&'static str],
}

/// The areas there are.
pub(crate) static AREAS: &[Area] = &[
    Area { name: "redis", modules: &["redis_router"] },
    Area {
        name: "routes",
        modules: &[
            "redis_router::router",
            "redis_router::complaints",
            "redis_router::deaths",
            "redis_router::file",
            "proxy_core::watch",
        ],
    },
    Area {
        name: "tls",
        modules: &[
            "tls",
            "rustls",
            "proxy_core::conn::https",
            "proxy_core::certificate_watch",
            "proxy_core::stored_certificates",
            "proxy_core::handshakes",
        ],
    },
    Area {
        name: "limits",
        modules: &["redis_router::limits", "proxy_core::refusals", "proxy_core::exchange::rate_limit"],
    },
    Area { name: "health", modules: &["proxy_core::checker", "proxy_core::checking"] },
    Area { name: "cores", modules: &["proxy_core::fleet", "proxy_core::core", "proxy_core::workers"] },
    Area { name: "admin", modules: &["proxy_core::admin", "proxy_core::control"] },
    Area {
        name: "http",
        modules: &[
            "proxy_core::accept",
            "proxy_core::conn",
            "proxy_core::context",
            "proxy_core::downstream",
            "proxy_core::exchange",
            "proxy_core::stream",
            "proxy_core::upstream",
        ],
    },
];

/// The levels in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Levels {
    /// Of what no area says otherwise.
    pub(crate) default: LevelFilter,
    pub(crate) areas: Vec<(&'static Area, LevelFilter)>,
}

impl Levels {
    /// One level for everything.
    pub(crate) fn of(level: LevelFilter) -> Self {
        Self { default: level, areas: Vec::new() }
    }

    /// The same, for the log. The module that is named more closely decides.
    pub(super) fn filter(&self) -> Filter {
        let mut filter = Builder::new();
        filter.filter_level(self.default);
        for (area, level) in &self.areas {
            for module in area.modules {
                filter.filter_module(module, *level);
            }
        }
        filter.build()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use log::{Level, Metadata};

    use super::*;

    #[test]
    fn the_closest_module_decides() {
        let area = |name| AREAS.iter().find(|area| area.name == name).unwrap();
        let areas = vec![(area("limits"), LevelFilter::Warn), (area("redis"), LevelFilter::Debug)];
        let filter = Levels { default: LevelFilter::Info, areas }.filter();
        for (target, level, wanted) in [
            ("proxy_core::fleet", Level::Info, true),
            ("proxy_core::fleet", Level::Debug, false),
            ("redis_router::upkeep", Level::Debug, true),
            ("redis_router::limits::calls", Level::Info, false),
            ("redis_router::limits::calls", Level::Warn, true),
        ] {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(filter.enabled(&metadata), wanted, "{target} {level}");
        }
        assert_eq!(filter.filter(), LevelFilter::Debug);
    }

    #[test]
    fn every_module_of_an_area_is_there() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for module in AREAS.iter().flat_map(|area| area.modules) {
            let mut parts = module.split("::");
            let root = crates.join(parts.next().unwrap().replace('_', "-")).join("src");
            let place: std::path::PathBuf = parts.collect();
            let is_there = place.as_os_str().is_empty() && (root.is_dir() || *module == "rustls")
                || root.join(&place).with_extension("rs").is_file()
                || root.join(&place).is_dir() && !place.as_os_str().is_empty();
            assert!(is_there, "{module}");
        }
    }
}
