//! Just enough of Rust's grammar to see paths, calls and string literals, and not comments.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// A sign; `::` is one.
    Sign,
    /// The inside of a string literal.
    Text,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// Cuts source text into tokens. Comments, lifetimes and character literals leave none.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0, line: 1, out: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Takes one character, counting lines.
    fn take(&mut self) -> char {
        let c = self.peek(0);
        self.line += usize::from(c == '\n');
        self.at += 1;
        c
    }

    fn done(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.out.push(Token { kind, text, line });
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                while !self.done() && self.peek(0) != '\n' {
                    self.take();
                }
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (c, _) if c.is_alphanumeric() || c == '_' => self.word(),
            (':', ':') => {
                self.push(Kind::Sign, "::".to_owned(), self.line);
                self.at += 2;
            }
            (c, _) => {
                if !c.is_whitespace() {
                    self.push(Kind::Sign, c.to_string(), self.line);
                }
                self.take();
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            let pair = (self.peek(0), self.peek(1));
            depth += i32::from(pair == ('/', '*')) - i32::from(pair == ('*', '/'));
            self.at += usize::from(pair == ('/', '*') || pair == ('*', '/'));
            self.take();
            if depth == 0 || self.done() {
                return;
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        let mut text = String::new();
        self.take();
        while !self.done() && self.peek(0) != '"' {
            let c = self.take();
            text.push(c);
            if c == '\\' {
                text.push(self.take());
            }
        }
        self.take();
        self.push(Kind::Text, text, line);
    }

    /// A character literal is skipped whole; of a lifetime only the quote, so that its name stays.
    fn quote(&mut self) {
        let escaped = self.peek(1) == '\\';
        if escaped || self.peek(2) == '\'' {
            self.at += if escaped { 3 } else { 2 };
            while !self.done() && self.peek(0) != '\'' {
                self.take();
            }
        }
        self.take();
    }

    fn word(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            text.push(self.take());
        }
        let hashes = self.chars[self.at.min(self.chars.len())..].iter().take_while(|c| **c == '#');
        let hashes = hashes.count();
        let is_raw = matches!(text.as_str(), "r" | "br" | "cr") && self.peek(hashes) == '"';
        if is_raw {
            self.raw_string(hashes, line);
        } else if !(matches!(text.as_str(), "b" | "c") && self.peek(0) == '"') {
            self.push(Kind::Word, text, line);
        }
    }

    fn raw_string(&mut self, hashes: usize, line: usize) {
        self.at += hashes + 1;
        let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
        let mut text = String::new();
        while !self.done() && !text.ends_with(&end) {
            text.push(self.take());
        }
        let inside = text.strip_suffix(&end).unwrap_or(&text).to_owned();
        self.push(Kind::Text, inside, line);
    }
}

#[test]
fn tokens_are_seen_through_comments_and_literals() {
    let source = "// crate::a\n/* crate::b /* crate::c */ crate::d */ let x = 'c'; '\\'' \
                  &'a str \"crate::e \\\" {\" r#\"crate::f \" \"# b\"g\"\ncrate::h";
    let seen: Vec<_> = tokens(source).into_iter().map(|t| (t.kind, t.text, t.line)).collect();
    let word = |text: &str, line| (Kind::Word, text.to_owned(), line);
    let sign = |text: &str, line| (Kind::Sign, text.to_owned(), line);
    let text = |text: &str, line| (Kind::Text, text.to_owned(), line);
    assert_eq!(
        seen,
        [
            word("let", 2),
            word("x", 2),
            sign("=", 2),
            sign(";", 2),
            sign("&", 2),
            word("a", 2),
            word("str", 2),
            text("crate::e \\\" {", 2),
            text("crate::f \" ", 2),
            text("g", 2),
            word("crate", 3),
            sign("::", 3),
            word("h", 3),
        ]
    );
}
