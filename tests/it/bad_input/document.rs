//! The API document as a judge: which values its schemas take, and which answers an operation may
//! give.

use serde_json::Value;

use crate::http_wire::Answer;

pub struct Document(Value);

/// One operation of the document.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Method and path, as `POST /api/v1/accounts`.
    pub name: String,
    pub method: String,
    pub path: String,
    spec: Value,
}

/// Whether an operation asks for an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    None,
    Optional,
    Required,
}

impl Operation {
    pub fn key(&self) -> Key {
        match self.spec["security"].as_array() {
            None => Key::None,
            Some(ways) if ways.iter().any(|way| way.as_object().unwrap().is_empty()) => {
                Key::Optional
            }
            Some(_) => Key::Required,
        }
    }

    /// The names of the parameters in `path`, `query` or `header`.
    pub fn parameters(&self, place: &str) -> Vec<String> {
        let all = self.spec["parameters"].as_array().into_iter().flatten();
        let here = all.filter(|parameter| parameter["in"] == place);
        here.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether `Idempotency-Key` is required.
    pub fn is_keyed(&self) -> bool {
        let all = self.spec["parameters"].as_array().into_iter().flatten();
        let mut named = all.filter(|parameter| parameter["name"] == "Idempotency-Key");
        named.any(|parameter| parameter["required"] == true)
    }

    pub fn body_schema(&self) -> Option<&Value> {
        self.spec["requestBody"]["content"]["application/json"].get("schema")
    }

    pub fn is_body_required(&self) -> bool {
        self.spec["requestBody"]["required"] == true
    }

    /// The statuses that are listed one by one.
    pub fn statuses(&self) -> Vec<u16> {
        let listed = self.spec["responses"].as_object().unwrap().keys();
        listed.filter_map(|status| status.parse().ok()).collect()
    }
}

impl Document {
    pub fn new(document: Value) -> Self {
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
        Self(document)
    }

    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            for (method, spec) in methods.as_object().unwrap() {
                let method = method.to_uppercase();
                let name = format!("{method} {path}");
                operations.push(Operation { name, method, path: path.clone(), spec: spec.clone() });
            }
        }
        operations
    }

    /// Each path with its methods.
    pub fn paths(&self) -> Vec<(String, Vec<String>)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        let methods =
            |of: &Value| of.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        paths.map(|(path, of)| (path.clone(), methods(of))).collect()
    }

    /// Whether an operation may give this answer: a listed status, or else the problem that stands
    /// for all the others; in a listed media type; and of the shape that is said of it.
    pub fn allows(&self, operation: &Operation, answer: &Answer) -> Result<(), String> {
        let responses = &operation.spec["responses"];
        let listed = responses.get(answer.status.to_string());
        if listed.is_none() && answer.status < 400 {
            return Err(format!("{} is not listed", answer.status));
        }
        let response = self.target(listed.unwrap_or(&responses["default"]));
        let media = answer.header("content-type").unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default();
        let content = response["content"].get(media);
        let content = content.ok_or_else(|| format!("{} as {media:?}", answer.status))?;
        if media.ends_with("json") {
            return self.fits(&content["schema"], &answer.json());
        }
        Ok(())
    }

    pub fn is_problem(&self, value: &Value) -> Result<(), String> {
        self.fits(&self.0["components"]["schemas"]["Problem"], value)
    }

    /// What a reference leads to.
    pub fn target<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(pointer) => self.target(self.0.pointer(&pointer[1..]).unwrap()),
            None => schema,
        }
    }

    /// The schema without the alternative of null.
    pub fn not_null<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let schema = self.target(schema);
        let alternatives = schema["oneOf"].as_array().into_iter().flatten();
        let some = alternatives.into_iter().find(|one| one["type"] != "null");
        some.map_or(schema, |one| self.not_null(one))
    }

    /// Whether a value is one that a schema takes.
    pub fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let Some(rules) = schema.as_object() else { return Ok(()) };
        for (rule, of) in rules {
            let good = match rule.as_str() {
                "description" | "example" | "examples" | "default" | "required" => true,
                "$ref" => {
                    self.fits(self.target(schema), value)?;
                    true
                }
                "allOf" => {
                    of.as_array().unwrap().iter().try_for_each(|one| self.fits(one, value))?;
                    true
                }
                "oneOf" => of.as_array().unwrap().iter().any(|one| self.fits(one, value).is_ok()),
                "enum" => of.as_array().unwrap().contains(value),
                "items" | "minItems" | "maxItems" => self.fits_list(rule, of, value)?,
                "properties" | "additionalProperties" => self.fits_members(schema, value)?,
                "propertyNames" => {
                    let mut names =
                        value.as_object().into_iter().flat_map(|members| members.keys());
                    names.all(|name| self.fits(of, &Value::from(name.as_str())).is_ok())
                }
                _ => fits_plain(rule, of, value),
            };
            if !good {
                return Err(format!("{value:.80} against {rule}: {of:.80}"));
            }
        }
        let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
        let mut required = rules.get("required").and_then(Value::as_array).into_iter().flatten();
        match required.find(missing).filter(|_| value.is_object()) {
            Some(name) => Err(format!("{name} is missing in {value:.80}")),
            None => Ok(()),
        }
    }

    fn fits_list(&self, rule: &str, of: &Value, value: &Value) -> Result<bool, String> {
        let Some(items) = value.as_array() else { return Ok(true) };
        let bound = || usize::try_from(of.as_u64().unwrap()).unwrap();
        match rule {
            "minItems" => Ok(items.len() >= bound()),
            "maxItems" => Ok(items.len() <= bound()),
            _ => items.iter().try_for_each(|item| self.fits(of, item)).map(|()| true),
        }
    }

    fn fits_members(&self, schema: &Value, value: &Value) -> Result<bool, String> {
        let Some(members) = value.as_object() else { return Ok(true) };
        for (name, member) in members {
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(of), _) => self.fits(of, member).map_err(|why| format!("{name}: {why}"))?,
                (None, Some(Value::Bool(false))) => return Err(format!("{name} is not a member")),
                (None, Some(of @ Value::Object(_))) => self.fits(of, member)?,
                (None, _) => {}
            }
        }
        Ok(true)
    }
}

/// The rules that look at the value alone. One that is not understood must be learnt.
fn fits_plain(rule: &str, of: &Value, value: &Value) -> bool {
    let text = value.as_str();
    let length = text.map(|text| u64::try_from(text.chars().count()).unwrap());
    match rule {
        "type" => match of {
            Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
            kind => is_of(kind, value),
        },
        "pattern" => text.is_none_or(|text| matches(of.as_str().unwrap(), text)),
        "minLength" => length.is_none_or(|length| length >= of.as_u64().unwrap()),
        "maxLength" => length.is_none_or(|length| length <= of.as_u64().unwrap()),
        "minimum" => value.as_f64().is_none_or(|number| number >= of.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= of.as_f64().unwrap()),
        "format" => match of.as_str().unwrap() {
            "date-time" => {
                text.is_none_or(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok())
            }
            "int32" => value.as_i64().is_none_or(|number| i32::try_from(number).is_ok()),
            "int64" => !value.is_u64() || value.is_i64(),
            unknown => panic!("a format to be learnt: {unknown}"),
        },
        unknown => panic!("a rule to be learnt: {unknown}"),
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("a type to be learnt: {unknown}"),
    }
}

/// The few patterns of the document, written once more by hand.
fn matches(pattern: &str, text: &str) -> bool {
    let all = |text: &str, good: fn(u8) -> bool| text.bytes().all(good);
    let hex = |text: &str| all(text, |b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match pattern {
        r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$" => {
            let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |text: &str, most| {
                (1..=most).contains(&text.len()) && all(text, |b| b.is_ascii_digit())
            };
            let leading = whole.len() > 1 && whole.starts_with('0');
            digits(whole, 12) && !leading && digits(rest, 6)
        }
        "^0x[0-9a-fA-F]{40}$" => {
            text.len() == 42 && text.starts_with("0x") && hex(&text[2..].to_lowercase())
        }
        "^[a-z0-9][a-z0-9._-]{0,63}$" => {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            (1..=64).contains(&text.len())
                && text.bytes().enumerate().all(|(n, b)| plain(b) || n > 0 && b"._-".contains(&b))
        }
        "^[A-Za-z0-9._:-]{1,128}$" => {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
            (1..=128).contains(&text.len()) && all(text, good)
        }
        id => {
            let prefix = id.strip_prefix('^').and_then(|id| id.strip_suffix("[0-9a-f]{32}$"));
            let prefix = prefix.unwrap_or_else(|| panic!("a pattern to be learnt: {id}"));
            text.strip_prefix(prefix).is_some_and(|digits| digits.len() == 32 && hex(digits))
        }
    }
}
