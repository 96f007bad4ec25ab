//! Acceptance criteria: what a result must be to be accepted, as data. Pure.
//!
//! The operator writes the schema and a fulfiller writes the evidence, so both are bounded: a schema
//! is JSON Schema 2020-12 that names nothing outside itself and does not recurse, and its patterns
//! run in linear time.

use jsonschema::{Draft, PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The bytes of a schema, as JSON without spaces.
const SCHEMA_BYTES_MAX: usize = 16_384;
/// How deep a schema is nested, references followed.
const SCHEMA_DEPTH_MAX: usize = 32;
/// The values in a schema, references followed.
const SCHEMA_VALUES_MAX: usize = 2_000;
/// The bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// The one dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Keywords by which a schema is addressed or recurses; a pointer into the schema is enough.
const UNSUPPORTED: [&str; 7] = [
    "$id",
    "$anchor",
    "$vocabulary",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];
/// How many mismatches a verdict tells, and how many characters of each member.
const MISMATCHES_MAX: usize = 10;
const PATH_MAX: usize = 200;
const MESSAGE_MAX: usize = 300;

/// What a result must be to be accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Criteria {
    /// The JSON Schema (2020-12) that a result's evidence must meet. What does not meet it is
    /// rejected at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
    /// What else is asked of a result, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    #[error("a schema is a JSON object")]
    NotAnObject,
    #[error("the schema has more than {SCHEMA_BYTES_MAX} bytes")]
    TooLong,
    #[error("the schema has more than {SCHEMA_VALUES_MAX} values, references followed")]
    TooLarge,
    #[error(
        "the schema is nested deeper than {SCHEMA_DEPTH_MAX}, references followed, or recurses"
    )]
    TooDeep,
    #[error("the schema is read as {DIALECT}, and names another dialect")]
    Dialect,
    #[error("a schema cannot use {keyword}")]
    Unsupported { keyword: String },
    #[error("{reference:?} is no JSON pointer to a part of this schema, such as \"#/$defs/name\"")]
    Reference { reference: String },
    #[error("at {path:?}: {message}")]
    Invalid { path: String, message: String },
}

/// Where evidence does not meet a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// A JSON pointer into the evidence; empty for the whole of it.
    pub path: String,
    pub message: String,
}

/// A schema that is ready to judge.
#[derive(Debug)]
pub struct EvidenceSchema(Validator);

impl EvidenceSchema {
    /// Reads a schema within its bounds.
    pub fn compile(schema: &Value) -> Result<Self, SchemaFault> {
        if !schema.is_object() {
            return Err(SchemaFault::NotAnObject);
        }
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(SchemaFault::TooLong);
        }
        Walk { root: schema, left: SCHEMA_VALUES_MAX }.over(schema, 0)?;
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(patterns);
        let validator = options.build(schema).map_err(|error| SchemaFault::Invalid {
            path: first(&error.instance_path().to_string(), PATH_MAX),
            message: first(&error.to_string(), MESSAGE_MAX),
        })?;
        Ok(Self(validator))
    }

    /// Where evidence does not meet it: nothing when it does, and never more than ten places.
    pub fn mismatches(&self, evidence: &Value) -> Vec<Mismatch> {
        let mismatches = self.0.iter_errors(evidence).take(MISMATCHES_MAX);
        let mismatch = |error: jsonschema::ValidationError<'_>| Mismatch {
            path: first(&error.instance_path().to_string(), PATH_MAX),
            message: first(&error.to_string(), MESSAGE_MAX),
        };
        mismatches.map(mismatch).collect()
    }
}

/// The first characters of a text.
fn first(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

/// Goes over a schema as a validator would, following references.
struct Walk<'a> {
    root: &'a Value,
    left: usize,
}

impl<'a> Walk<'a> {
    fn over(&mut self, value: &'a Value, depth: usize) -> Result<(), SchemaFault> {
        self.left = self.left.checked_sub(1).ok_or(SchemaFault::TooLarge)?;
        if depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaFault::TooDeep);
        }
        let depth = depth.saturating_add(1);
        match value {
            Value::Object(members) => {
                for (keyword, member) in members {
                    self.member(keyword, member, depth)?;
                }
            }
            Value::Array(members) => {
                for member in members {
                    self.over(member, depth)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    /// A keyword has a text or a truth; a property of that name has a schema.
    fn member(&mut self, keyword: &str, of: &'a Value, depth: usize) -> Result<(), SchemaFault> {
        match of {
            Value::String(text) if keyword == "$ref" => {
                let target = self.target(text);
                let fault = || SchemaFault::Reference { reference: first(text, PATH_MAX) };
                self.over(target.ok_or_else(fault)?, depth)
            }
            Value::String(text)
                if keyword == "$schema" && text.trim_end_matches('#') != DIALECT =>
            {
                Err(SchemaFault::Dialect)
            }
            Value::String(_) | Value::Bool(_) if UNSUPPORTED.contains(&keyword) => {
                Err(SchemaFault::Unsupported { keyword: keyword.to_owned() })
            }
            _ => self.over(of, depth),
        }
    }

    /// What a reference leads to. One that would have to be decoded first is not followed.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#')?;
        if pointer.contains('%') { None } else { self.root.pointer(pointer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(schema: &Value) -> SchemaFault {
        EvidenceSchema::compile(schema).unwrap_err()
    }

    #[test]
    fn evidence_meets_a_schema_or_is_told_where_it_does_not() {
        let schema = EvidenceSchema::compile(&json!({
            "$schema": DIALECT,
            "type": "object",
            "required": ["email", "sources"],
            "properties": {
                "email": {"type": "string", "format": "email"},
                "sources": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/source"}},
                "code": {"pattern": "^(a+)+$"},
            },
            "$defs": {"source": {"type": "string", "maxLength": 5}},
        }))
        .unwrap();
        assert_eq!(schema.mismatches(&json!({"email": "a@b.example", "sources": ["x", "y"]})), []);
        let bad = json!({"email": "nobody", "sources": ["x".repeat(9_000)], "code": "a!"});
        let told = schema.mismatches(&bad);
        let paths: Vec<_> = told.iter().map(|mismatch| mismatch.path.as_str()).collect();
        for path in ["/email", "/sources", "/sources/0", "/code"] {
            assert!(paths.contains(&path), "{path}: {told:?}");
        }
        assert!(told.iter().all(|mismatch| mismatch.message.chars().count() <= MESSAGE_MAX));
        assert_eq!(schema.mismatches(&json!(null))[0].path, "");
        // A pattern that would keep a backtracking engine for ages.
        let long =
            json!({"email": "a@b.example", "sources": ["", ""], "code": "a".repeat(30_000) + "!"});
        assert_eq!(schema.mismatches(&long).len(), 1);
        let many = json!({"email": "a@b.example", "sources": vec![1; 5_000]});
        assert_eq!(schema.mismatches(&many).len(), MISMATCHES_MAX);
    }

    #[test]
    fn a_schema_that_is_wrong_is_refused() {
        for schema in [json!(true), json!([]), json!("x"), json!(null)] {
            assert_eq!(fault(&schema), SchemaFault::NotAnObject);
        }
        for schema in [
            json!({"type": 12}),
            json!({"type": "text"}),
            json!({"pattern": "("}),
            json!({"pattern": "(?=a)"}),
            json!({"format": "no-such-format"}),
            json!({"required": "name"}),
            json!({"pattern": "(a{1000}){1000}"}),
        ] {
            assert!(matches!(fault(&schema), SchemaFault::Invalid { .. }), "{schema}");
        }
        let other = json!({"$schema": "http://json-schema.org/draft-07/schema#"});
        assert_eq!(fault(&other), SchemaFault::Dialect);
        for keyword in UNSUPPORTED {
            let schema = json!({"properties": {"a": {keyword: "#a"}}});
            assert_eq!(fault(&schema), SchemaFault::Unsupported { keyword: keyword.to_owned() });
            // A property may have the name of a keyword.
            assert!(EvidenceSchema::compile(&json!({"properties": {keyword: {}}})).is_ok());
        }
    }

    #[test]
    fn references_lead_to_the_schema_itself_only() {
        for reference in [
            "https://example.com/schema.json",
            "http://127.0.0.1/",
            "file:///etc/passwd",
            "other.json",
            "#name",
            "#/$defs/none",
            "#/%24defs/a",
            "json-schema:///",
            DIALECT,
        ] {
            let schema = json!({"$ref": reference, "$defs": {"a": {}}});
            assert!(matches!(fault(&schema), SchemaFault::Reference { .. }), "{reference}");
        }
    }

    #[test]
    fn a_schema_is_bounded() {
        let long = json!({"description": "x".repeat(SCHEMA_BYTES_MAX)});
        assert_eq!(fault(&long), SchemaFault::TooLong);
        let mut deep = json!({});
        for _ in 0..SCHEMA_DEPTH_MAX {
            deep = json!({"not": deep});
        }
        assert!(EvidenceSchema::compile(&deep).is_ok());
        assert_eq!(fault(&json!({"not": deep})), SchemaFault::TooDeep);
        for endless in [
            json!({"$ref": "#"}),
            json!({"properties": {"next": {"$ref": "#"}}}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ] {
            assert_eq!(fault(&endless), SchemaFault::TooDeep, "{endless}");
        }
        // Each definition asks twice for the next: small to write, and endless to check.
        let mut definitions = serde_json::Map::new();
        for n in 0..14 {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            definitions.insert(format!("d{n}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("d14".to_owned(), json!({}));
        let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
        assert!(matches!(fault(&schema), SchemaFault::TooLarge | SchemaFault::TooDeep));
    }
}
