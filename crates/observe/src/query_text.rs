//! The grammar of [`Path`].

use crate::query::{Filter, Function, Path, QueryError, Step};

/// Reads a question; whether its keys exist is not looked at.
pub(crate) fn parse(text: &str) -> Result<Path, QueryError> {
    let mut cursor = Cursor { text, at: 0 };
    let function = cursor.function()?;
    let mut steps = vec![cursor.step()?];
    while cursor.take('.') {
        steps.push(cursor.step()?);
    }
    if function.is_some() && !cursor.take(')') {
        return cursor.expected("`.` or `)`");
    }
    cursor.skip_blanks();
    if cursor.at < text.len() {
        return cursor.expected(if function.is_some() {
            "the end"
        } else {
            "`.` or the end"
        });
    }
    Ok(Path {
        text: text.to_owned(),
        function,
        steps,
    })
}

const FUNCTIONS: [(&str, Function); 4] = [
    ("sum(", Function::Sum),
    ("min(", Function::Min),
    ("max(", Function::Max),
    ("count(", Function::Count),
];

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, QueryError> {
        Err(QueryError::Syntax {
            at: self.at,
            expected,
        })
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(' ').len();
    }

    /// Takes a character, blanks before it included, if it is the next one.
    fn take(&mut self, character: char) -> bool {
        self.skip_blanks();
        let is_next = self.rest().starts_with(character);
        if is_next {
            self.at += character.len_utf8();
        }
        is_next
    }

    fn function(&mut self) -> Result<Option<Function>, QueryError> {
        self.skip_blanks();
        for (name, function) in FUNCTIONS {
            if self.rest().starts_with(name) {
                self.at += name.len();
                return Ok(Some(function));
            }
        }
        let name = self
            .rest()
            .find(|character| !is_key(character))
            .unwrap_or(0);
        if self.rest()[name..].starts_with('(') {
            return self.expected("one of the functions sum, min, max, count");
        }
        Ok(None)
    }

    fn step(&mut self) -> Result<Step, QueryError> {
        let (at, key) = self.key()?;
        let mut filters = Vec::new();
        if self.take('[') {
            filters.push(self.filter()?);
            while self.take(',') {
                filters.push(self.filter()?);
            }
            if !self.take(']') {
                return self.expected("`,` or `]`");
            }
        }
        Ok(Step { at, key, filters })
    }

    fn filter(&mut self) -> Result<Filter, QueryError> {
        let (at, key) = self.key()?;
        if !self.take('=') {
            return self.expected("`=`");
        }
        let value = if self.take('"') {
            self.until(&['"'])?
        } else {
            self.until(&[',', ']'])?
        };
        let quoted = self.text[..self.at].ends_with('"');
        let value = if quoted { value } else { value.trim() };
        if value.is_empty() && !quoted {
            return self.expected("a value");
        }
        Ok(Filter {
            at,
            key,
            value: value.to_owned(),
        })
    }

    fn key(&mut self) -> Result<(usize, String), QueryError> {
        self.skip_blanks();
        let rest = self.rest();
        let length = rest
            .find(|character| !is_key(character))
            .unwrap_or(rest.len());
        if length == 0 {
            return self.expected("a key");
        }
        let at = self.at;
        self.at += length;
        Ok((at, rest[..length].to_owned()))
    }

    /// Takes everything before one of the ends, and the end itself if it is a quote.
    fn until(&mut self, ends: &[char]) -> Result<&'a str, QueryError> {
        let rest = self.rest();
        let Some(length) = rest.find(ends) else {
            self.at = self.text.len();
            return self.expected(if ends == ['"'] {
                "a closing `\"`"
            } else {
                "`]`"
            });
        };
        self.at += length + usize::from(ends == ['"']);
        Ok(&rest[..length])
    }
}

const fn is_key(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}
