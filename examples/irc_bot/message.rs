//! A line as RFC 1459 and IRCv3 have it.

/// A line of the protocol: `[@tags] [:nick!user@host] COMMAND params… [:last]`.
pub(crate) struct Message<'a> {
    /// Of who sends it. Empty without a prefix; it may be the server's name.
    pub(crate) nick: &'a str,
    pub(crate) command: &'a str,
    params: Vec<&'a str>,
}

impl<'a> Message<'a> {
    pub(crate) fn parse(line: &'a str) -> Option<Message<'a>> {
        let (_tags, line) = split_prefix(line, '@');
        let (prefix, line) = split_prefix(line, ':');
        let (line, last) = match line.split_once(" :") {
            Some((line, last)) => (line, Some(last)),
            None => (line, None),
        };
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        Some(Message {
            nick: prefix.split(['!', '@']).next()?,
            command: words.next()?,
            params: words.chain(last).collect(),
        })
    }

    /// A parameter; empty if there is none.
    pub(crate) fn param(&self, index: usize) -> &'a str {
        self.params.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn last(&self) -> &'a str {
        self.params.last().copied().unwrap_or_default()
    }
}

/// Splits off a first word that begins with `mark`.
fn split_prefix(line: &str, mark: char) -> (&str, &str) {
    match line.strip_prefix(mark) {
        Some(line) => {
            let (prefix, line) = line.split_once(' ').unwrap_or((line, ""));
            (prefix, line.trim_start_matches(' '))
        }
        None => ("", line),
    }
}
