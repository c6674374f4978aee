//! Names of users, as the host's own file has them.
//!
//! Users that only a directory service knows are numbers here: asking it could take seconds.

use std::collections::HashMap;

use crate::limits::{USER_NAME_BYTES_MAX, USERS_MAX};

/// Names by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// Parses the text of a `passwd` file; lines that are none are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let user = |line: &str| {
            let mut words = line.split(':');
            let name = words.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
            let uid: u32 = words.nth(1)?.parse().ok()?;
            let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
            Some((uid, name[..name.floor_char_boundary(USER_NAME_BYTES_MAX)].to_owned()))
        };
        let mut names = HashMap::new();
        for (uid, name) in text.lines().filter_map(user).take(USERS_MAX) {
            // Of two names for one number the first counts, as everywhere.
            names.entry(uid).or_insert(name);
        }
        Self { names }
    }

    /// Returns the name of the user with this number, or the number where it has none.
    #[must_use]
    pub fn name(&self, uid: u32) -> String {
        self.names.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_first_name_of_its_number_or_the_number() {
        let text = "root:x:0:0:root:/root:/bin/sh\n# note:x:9:\ntoor:x:0:0::/:/bin/sh\nbad\n\
                    www-data:x:33:33::/var/www:/usr/sbin/nologin\n+::::::\n";
        let users = Users::parse(text);
        assert_eq!([0, 33, 9].map(|uid| users.name(uid)), ["root", "www-data", "9"]);
    }
}
