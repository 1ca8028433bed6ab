use super::Workload;
use crate::units::{FrontendPath, Name};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How the connections of a workload are spread over its destinations, which are numbered in the
/// order in which it lists them. Each connection draws its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skew {
    /// Each is as likely as any other.
    #[default]
    Uniform,
    /// By Zipf's law: the k-th is drawn in proportion to 1 / k^exponent.
    Zipf(Zipf),
    /// In proportion to these, one for each.
    Weights(Vec<u32>),
}

/// Zipf's law.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zipf {
    /// The exponent, 0..=10; with 0 all are alike.
    pub exponent: f64,
}

/// A destination of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A private endpoint.
    PrivateEndpoint(&'a Name),
    /// A load balancer's frontend itself.
    Frontend(&'a FrontendPath),
}

impl Workload {
    /// Returns its destinations in order, each with the key that names it: `private_endpoint`, or
    /// `private_endpoints[2]`.
    pub fn destinations(&self) -> impl Iterator<Item = (String, Destination<'_>)> {
        let endpoint = self.private_endpoint.iter();
        let endpoint = endpoint.map(|name| ("private_endpoint".to_owned(), name));
        let endpoints = self.private_endpoints.iter().flatten().enumerate();
        let endpoints = endpoints.map(|(at, name)| (format!("private_endpoints[{at}]"), name));
        let frontend = self.load_balancer_frontend.iter();
        let frontend = frontend.map(|path| ("load_balancer_frontend".to_owned(), path));
        let frontends = self.load_balancer_frontends.iter().flatten().enumerate();
        let frontends =
            frontends.map(|(at, path)| (format!("load_balancer_frontends[{at}]"), path));
        let by_endpoint = endpoint.chain(endpoints);
        let direct = frontend.chain(frontends);
        by_endpoint
            .map(|(key, name)| (key, Destination::PrivateEndpoint(name)))
            .chain(direct.map(|(key, path)| (key, Destination::Frontend(path))))
    }

    /// Returns the private endpoints that it connects to.
    pub fn endpoints(&self) -> impl Iterator<Item = &Name> {
        let several = self.private_endpoints.iter().flatten();
        self.private_endpoint.iter().chain(several)
    }

    /// Returns the frontends that it dials themselves.
    pub fn frontends(&self) -> impl Iterator<Item = &FrontendPath> {
        let several = self.load_balancer_frontends.iter().flatten();
        self.load_balancer_frontend.iter().chain(several)
    }

    /// Tells whether some of its connections come through a private endpoint.
    #[must_use]
    pub fn comes_by(&self, endpoint: &Name) -> bool {
        self.endpoints().any(|name| name == endpoint)
    }

    /// Tells whether some of its connections go to a frontend itself.
    #[must_use]
    pub fn dials(&self, balancer: &Name, frontend: &Name) -> bool {
        self.frontends()
            .any(|path| path.load_balancer == *balancer && path.frontend == *frontend)
    }
}

impl Destination<'_> {
    /// Returns the name as the scenario writes it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::PrivateEndpoint(name) => name.to_string(),
            Self::Frontend(path) => path.to_string(),
        }
    }
}

impl JsonSchema for Skew {
    fn schema_name() -> Cow<'static, str> {
        "skew".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How connections are spread over several destinations: a word, or a table with one key.",
            "anyOf": [
                {
                    "oneOf": [
                        { "type": "string", "const": "uniform", "description": "Each is as likely as any other." }
                    ]
                },
                {
                    "type": "object",
                    "properties": {
                        "zipf": {
                            "description": "By Zipf's law: the k-th destination is drawn in proportion to 1 / k^exponent.",
                            "type": "object",
                            "properties": {
                                "exponent": { "description": "0 spreads evenly; with 1 the first of two gets twice as much as the second.", "type": "number", "minimum": 0, "maximum": 10 }
                            },
                            "required": ["exponent"],
                            "additionalProperties": false
                        },
                        "weights": {
                            "description": "In proportion to these, one for each destination.",
                            "type": "array",
                            "items": { "type": "integer", "minimum": 0, "maximum": 1_000_000 },
                            "minItems": 1,
                            "maxItems": 256
                        }
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false
                }
            ]
        })
    }
}
