//! Addresses as they stand in MAIL, RCPT and VRFY: `get_addr_spec` and `get_angle_addr` of Python's
//! `email._header_value_parser`, with what they let pass, function by function.
//!
//! Each function takes what a piece is at the beginning of, and returns the piece and the rest.
//!
//! Not as there: no encoded words (`=?utf-8?q?…?=`), which RFC 2047 forbids in an address, are decoded. What
//! is an `IndexError` there is an error like any other here.

use asyncore::{Error, Result};

/// So many comments may be inside one another; in Python it is the recursion limit that ends them.
const DEEPEST: usize = 900;

/// A part of an address: what is left of Python's tree of tokens when nobody asks for its defects.
enum Token {
    /// Comments and white space.
    Cfws,
    Dot,
    Text(String),
    List(Vec<Token>),
}

impl Token {
    fn value(&self) -> String {
        match self {
            Token::Cfws => " ".to_owned(),
            Token::Dot => ".".to_owned(),
            Token::Text(text) => text.clone(),
            Token::List(tokens) => tokens.iter().map(Token::value).collect(),
        }
    }

    fn is_cfws(&self) -> bool {
        matches!(self, Token::Cfws)
    }
}

/// The address `<local@domain>`, without what may surround it, or `<>`.
pub(super) fn get_angle_addr(value: &str) -> Result<(String, &str)> {
    let value = get_cfws(value)?;
    let value = expect('<', value)?;
    if let Some(value) = value.strip_prefix('>') {
        return Ok(("<>".to_owned(), value));
    }
    let (addr_spec, value) = match get_addr_spec(value) {
        Ok(found) => found,
        Err(_) => get_addr_spec(get_obs_route(value)?)?,
    };
    let value = value.strip_prefix('>').unwrap_or(value);
    let value = get_cfws(value)?;
    if addr_spec.is_empty() || addr_spec.starts_with('@') {
        return Ok((format!("\"\"{addr_spec}"), value));
    }
    Ok((addr_spec, value))
}

/// The address `local@domain`, or `local` alone.
pub(super) fn get_addr_spec(value: &str) -> Result<(String, &str)> {
    let (mut addr_spec, value) = get_local_part(value)?;
    if addr_spec.contains(|it| is_atom_end(it) && it != '.') {
        addr_spec = quote_string(&addr_spec);
    }
    let Some(value) = value.strip_prefix('@') else {
        return Ok((addr_spec, value));
    };
    let (domain, value) = get_domain(value)?;
    Ok((format!("{addr_spec}@{domain}"), value))
}

/// `str.isspace` of Python, which has four separators more than Rust has white space.
pub(super) fn is_space(it: char) -> bool {
    it.is_whitespace() || matches!(it, '\x1c'..='\x1f')
}

fn is_wsp(it: char) -> bool {
    matches!(it, ' ' | '\t')
}

fn is_special(it: char) -> bool {
    r#"()<>@,:;.\"[]"#.contains(it)
}

fn is_atom_end(it: char) -> bool {
    is_special(it) || is_wsp(it)
}

fn is_phrase_end(it: char) -> bool {
    is_special(it) && !r#"."("#.contains(it)
}

fn quote_string(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', r#"\""#))
}

fn expected(what: &str, value: &str) -> Error {
    Error::msg(format!("expected {what} but found {value:?}"))
}

fn expect(character: char, value: &str) -> Result<&str> {
    let rest = value.strip_prefix(character);
    rest.ok_or_else(|| expected(&format!("{character:?}"), value))
}

// ---- white space and comments

fn get_fws(value: &str) -> (&str, &str) {
    let rest = value.trim_start_matches(is_space);
    (&value[..value.len() - rest.len()], rest)
}

fn skip_fws(value: &str) -> &str {
    match value.starts_with(is_wsp) {
        true => get_fws(value).1,
        false => value,
    }
}

/// The rest after comments and white space, if there are any.
fn get_cfws(mut value: &str) -> Result<&str> {
    loop {
        value = match value.chars().next() {
            Some('(') => get_comment(value, DEEPEST)?,
            Some(it) if is_wsp(it) => get_fws(value).1,
            _ => return Ok(value),
        };
    }
}

/// The rest, and a token if there are comments or white space.
fn get_optional_cfws(value: &str) -> Result<(Option<Token>, &str)> {
    let rest = get_cfws(value)?;
    Ok(((rest.len() < value.len()).then_some(Token::Cfws), rest))
}

fn get_comment(value: &str, depth: usize) -> Result<&str> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| Error::msg("too many comments inside one another"))?;
    let mut value = expect('(', value)?;
    loop {
        value = match value.chars().next() {
            None => return Ok(value),
            Some(')') => return Ok(&value[1..]),
            Some('(') => get_comment(value, depth)?,
            Some(it) if is_wsp(it) => get_fws(value).1,
            Some(_) => get_ptext_to_endchars(value, "()").1,
        };
    }
}

/// What comes before white space or one of `endchars`, with the backslashes of quoted pairs taken out.
fn get_ptext_to_endchars<'a>(value: &'a str, endchars: &str) -> (String, &'a str) {
    let mut vchars = String::new();
    let mut escape = false;
    for (at, it) in value.char_indices() {
        if is_wsp(it) || !escape && endchars.contains(it) {
            return (vchars, &value[at..]);
        }
        escape = it == '\\' && !escape;
        if !escape {
            vchars.push(it);
        }
    }
    (vchars, "")
}

// ---- atoms and quoted strings

fn get_atext(value: &str) -> Result<(Token, &str)> {
    let (atext, rest) = value.split_at(value.find(is_atom_end).unwrap_or(value.len()));
    if atext.is_empty() {
        return Err(expected("atext", value));
    }
    Ok((Token::Text(atext.to_owned()), rest))
}

fn get_bare_quoted_string(value: &str) -> Result<(Token, &str)> {
    let mut value = expect('"', value)?;
    let mut tokens = Vec::new();
    if value.starts_with('"') {
        tokens.push(Token::Text(String::new()));
    }
    while !value.is_empty() {
        if let Some(rest) = value.strip_prefix('"') {
            return Ok((Token::List(tokens), rest));
        }
        let text;
        (text, value) = if value.starts_with(is_wsp) {
            let (fws, rest) = get_fws(value);
            (fws.to_owned(), rest)
        } else {
            get_ptext_to_endchars(value, "\"")
        };
        tokens.push(Token::Text(text));
    }
    Ok((Token::List(tokens), value))
}

/// A token, and the comments and white space around it.
fn with_cfws<'a>(
    value: &'a str,
    get_token: impl FnOnce(&'a str) -> Result<(Token, &'a str)>,
) -> Result<(Vec<Token>, &'a str)> {
    let (before, value) = get_optional_cfws(value)?;
    let (token, value) = get_token(value)?;
    let (after, value) = get_optional_cfws(value)?;
    let tokens = before.into_iter().chain([token]).chain(after);
    Ok((tokens.collect(), value))
}

fn get_dot_atom_text(mut value: &str) -> Result<(Token, &str)> {
    let mut dot_atom_text = Vec::new();
    loop {
        let token;
        (token, value) = get_atext(value)?;
        dot_atom_text.push(token);
        let Some(rest) = value.strip_prefix('.') else {
            return Ok((Token::List(dot_atom_text), value));
        };
        dot_atom_text.push(Token::Dot);
        value = rest;
    }
}

fn get_dot_atom(value: &str) -> Result<(Vec<Token>, &str)> {
    with_cfws(value, get_dot_atom_text)
}

fn get_atom(value: &str) -> Result<(Vec<Token>, &str)> {
    with_cfws(value, get_atext)
}

/// An atom or a quoted string.
fn get_word(value: &str) -> Result<(Vec<Token>, &str)> {
    with_cfws(value, |value| match value.starts_with('"') {
        true => get_bare_quoted_string(value),
        false => get_atext(value),
    })
}

// ---- the two sides of an address

fn get_local_part(value: &str) -> Result<(String, &str)> {
    let start = value;
    let value = get_cfws(value)?;
    let (mut tokens, mut value) = match get_dot_atom(value).or_else(|_| get_word(value)) {
        Ok(found) => found,
        Err(_) if value.starts_with(is_obs_local_part) => (Vec::new(), value),
        Err(error) => return Err(error),
    };
    if value.starts_with(is_obs_local_part) {
        (tokens, value) = get_obs_local_part(start)?;
    }
    Ok((local_part(tokens)?, value))
}

fn is_obs_local_part(it: char) -> bool {
    it == '\\' || !is_phrase_end(it)
}

/// Words, dots and what else comes, in any order.
fn get_obs_local_part(mut value: &str) -> Result<(Vec<Token>, &str)> {
    let mut tokens = Vec::new();
    while value.starts_with(is_obs_local_part) {
        let token;
        (token, value) = if let Some(rest) = value.strip_prefix('.') {
            (Token::Dot, rest)
        } else if let Some(rest) = value.strip_prefix('\\') {
            (Token::Text("\\".to_owned()), rest)
        } else {
            match (get_word(value), get_optional_cfws(value)?) {
                (Ok((word, rest)), _) => (Token::List(word), rest),
                (Err(_), (Some(cfws), rest)) => (cfws, rest),
                (Err(error), _) => return Err(error),
            }
        };
        tokens.push(token);
    }
    Ok((tokens, value))
}

/// The text of a local part, without the comments and white space at its ends and around its dots.
fn local_part(tokens: Vec<Token>) -> Result<String> {
    let missing = || Error::msg("there is nothing in the quoted string");
    let mut result: Vec<Token> = Vec::new();
    for mut token in tokens.into_iter().chain([Token::Dot]) {
        if token.is_cfws() {
            continue;
        }
        if let (Some(Token::List(last)), Token::Dot) = (result.last_mut(), &token)
            && last.last().ok_or_else(missing)?.is_cfws()
        {
            last.pop();
        }
        if let (None | Some(Token::Dot), Token::List(list)) = (result.last(), &mut token)
            && list.first().ok_or_else(missing)?.is_cfws()
        {
            list.remove(0);
        }
        result.push(token);
    }
    result.pop();
    Ok(Token::List(result).value())
}

fn get_domain(value: &str) -> Result<(String, &str)> {
    let value = get_cfws(value)?;
    if value.starts_with('[') {
        return get_domain_literal(value);
    }
    let (mut tokens, mut value) = get_dot_atom(value).or_else(|_| get_atom(value))?;
    if value.starts_with('@') {
        return Err(Error::msg("Invalid Domain"));
    }
    while let Some(rest) = value.strip_prefix('.') {
        let atom;
        (atom, value) = get_atom(rest)?;
        tokens.push(Token::Dot);
        tokens.extend(atom);
    }
    let domain = Token::List(tokens).value();
    Ok((domain.replace(is_space, ""), value))
}

fn get_domain_literal(value: &str) -> Result<(String, &str)> {
    let value = skip_fws(expect('[', value)?);
    let (ptext, value) = get_ptext_to_endchars(value, "[]");
    let value = expect(']', skip_fws(value))?;
    Ok((
        format!("[{}]", ptext.replace(is_space, "")),
        get_cfws(value)?,
    ))
}

/// The rest after `@one,@two:`, by which mail went in other times.
fn get_obs_route(value: &str) -> Result<&str> {
    let mut value = value;
    loop {
        value = get_cfws(value)?;
        match value.strip_prefix(',') {
            Some(rest) => value = rest,
            None => break,
        }
    }
    (_, value) = get_domain(expect('@', value)?)?;
    while let Some(rest) = value.strip_prefix(',') {
        value = get_cfws(rest)?;
        if let Some(rest) = value.strip_prefix('@') {
            (_, value) = get_domain(rest)?;
        }
    }
    expect(':', value)
}
