use super::{UnitError, text_leaf};
use core::fmt;
use core::ops::Deref;
use core::str::FromStr;

/// A name: 1..=80 characters of `A-Z a-z 0-9 . _ -`, as Azure allows for these resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The longest name, in characters (Azure's limit for these resources).
const MAX_NAME: usize = 80;

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let rule = "a name has 1 to 80 characters of A-Z, a-z, 0-9, `.`, `_` and `-`";
        if text.is_empty() {
            return Err(UnitError::with_help("a name cannot be empty", rule));
        }
        if let Some(odd) = text.chars().find(|c| !allowed(*c)) {
            let message = format!("a name cannot contain `{}`", odd.escape_debug());
            return Err(UnitError::with_help(message, rule));
        }
        if text.len() > MAX_NAME {
            let message = format!("a name of {} characters is too long", text.len());
            return Err(UnitError::with_help(message, rule));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_leaf!(
    Name,
    "name",
    r"^[A-Za-z0-9._-]{1,80}$",
    "A name of 1 to 80 characters: letters, digits, point, underscore and hyphen.",
    ["web-1"]
);

/// Declares a reference of two names with a slash between them.
macro_rules! path {
    ($type:ident, $parent:ident, $child:ident, $format:literal, $noun:literal, $example:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type {
            /// The name before the slash.
            pub $parent: Name,
            /// The name after the slash.
            pub $child: Name,
        }

        impl FromStr for $type {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                let hint = concat!("write ", $noun, " as \"", $example, "\"");
                let Some((parent, child)) = text.split_once('/') else {
                    let message =
                        concat!($noun, " is named by two names with a slash between them");
                    return Err(UnitError::with_help(message, hint));
                };
                let part = |text: &str| {
                    text.parse()
                        .map_err(|error: UnitError| UnitError::with_help(error.message, hint))
                };
                Ok(Self {
                    $parent: part(parent)?,
                    $child: part(child)?,
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.$parent, self.$child)
            }
        }

        text_leaf!(
            $type,
            $format,
            r"^[A-Za-z0-9._-]{1,80}/[A-Za-z0-9._-]{1,80}$",
            $doc,
            [$example]
        );
    };
}

path!(
    SubnetPath,
    virtual_network,
    subnet,
    "subnet-path",
    "a subnet",
    "my-vnet/my-subnet",
    "A reference to a subnet: virtual network and subnet with a slash between them."
);
path!(
    FrontendPath,
    load_balancer,
    frontend,
    "frontend-path",
    "a frontend",
    "my-lb/my-frontend",
    "A reference to a load balancer's frontend: load balancer and frontend with a slash between them."
);
path!(
    PoolPath,
    load_balancer,
    backend_pool,
    "pool-path",
    "a backend pool",
    "my-lb/my-pool",
    "A reference to a backend pool: load balancer and pool with a slash between them."
);

path!(
    RulePath,
    load_balancer,
    rule,
    "rule-path",
    "a load-balancing rule",
    "my-lb/my-rule",
    "A reference to a load-balancing rule: load balancer and rule with a slash between them."
);

#[cfg(test)]
mod tests {
    use super::{Name, SubnetPath};

    #[test]
    fn names_are_1_to_80_plain_characters() {
        assert!("a".repeat(80).parse::<Name>().is_ok());
        for text in ["", "a b", "a/b", "é", "../x", "a\0", &"a".repeat(81)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_subnet_is_named_by_two_names() {
        let path: SubnetPath = "hub/pe".parse().unwrap();
        assert_eq!(
            (path.virtual_network.as_str(), path.subnet.as_str()),
            ("hub", "pe")
        );
        for text in ["hub", "hub/", "/pe", "a/b/c", ""] {
            assert!(text.parse::<SubnetPath>().is_err(), "{text}");
        }
    }
}
