//! Requests made from the OpenAPI document, so that a new operation is attacked by itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::attack::arena::NEIGHBOUR;

/// Most steps from a schema to what it refers to and consists of.
const DEPTH_MAX: usize = 12;

/// An operation of the document.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) method: String,
    pub(super) path: String,
    parameters: Vec<Parameter>,
    body: Option<Value>,
    /// Whether it asks for no token.
    pub(super) is_open: bool,
    /// Whether its answer does not end.
    pub(super) is_stream: bool,
}

#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    place: String,
    is_required: bool,
    schema: Value,
}

/// A request of an operation, without the token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// With the query.
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Value>,
}

/// What is known by the names of parameters and fields, such as `agent`: the victim's values.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) values: BTreeMap<&'static str, String>,
    /// Names of tokens, by the path up to them.
    pub(super) ids: BTreeMap<&'static str, String>,
    /// What is signed, by the path that takes it.
    pub(super) envelopes: BTreeMap<&'static str, String>,
}

/// Fields and parameters that say whose something is.
const TENANTS: [&str; 2] = ["tenant", "tenants"];

/// Returns all operations of a document.
pub(super) fn operations(document: &Value) -> Result<Vec<Operation>> {
    let paths = document["paths"].as_object().context("paths")?;
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().context("methods")? {
            operations.push(Operation::read(document, path, method, operation)?);
        }
    }
    Ok(operations)
}

impl Operation {
    fn read(document: &Value, path: &str, method: &str, operation: &Value) -> Result<Self> {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let parameters = parameters.iter().map(|it| {
            let it = resolve(document, it);
            let text = |name: &str| it[name].as_str().map(str::to_owned).context("a parameter");
            Ok(Parameter {
                name: text("name")?,
                place: text("in")?,
                is_required: it["required"] == true,
                schema: it["schema"].clone(),
            })
        });
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let answers = operation["responses"]["200"]["content"].as_object();
        Ok(Self {
            method: method.to_uppercase(),
            path: path.to_owned(),
            parameters: parameters.collect::<Result<_>>()?,
            body: (!body.is_null()).then(|| body.clone()),
            is_open: operation["security"].as_array().is_some_and(Vec::is_empty),
            is_stream: answers.is_some_and(|it| it.contains_key("text/event-stream")),
        })
    }

    /// Returns its name.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Returns whether it only reads.
    pub(super) fn is_read(&self) -> bool {
        self.method == "GET"
    }

    /// Returns whether whoever asks for it has no token any more: that comes after everything else.
    pub(super) fn ends_token(&self) -> bool {
        (self.method.as_str(), self.path.as_str()) == ("DELETE", "/v1/me/token")
    }

    /// Returns whether its answer is one page of several.
    pub(super) fn is_list(&self) -> bool {
        self.parameters.iter().any(|it| it.place == "query" && it.name == "cursor")
    }

    /// Returns the request with what is required, and with what is known of these optional parameters; the victim's
    /// tenant is replaced by `tenant` where one is given.
    fn request(
        &self,
        document: &Value,
        known: &Known,
        optional: &[&str],
        tenant: Option<&str>,
    ) -> Request {
        let value = |parameter: &Parameter| {
            let name = parameter.name.as_str();
            let own = tenant.filter(|_| TENANTS.contains(&name)).map(str::to_owned);
            let value = own.or_else(|| known.of(&self.path, name));
            value.unwrap_or_else(|| text(&example(document, known, &parameter.schema, name, 0)))
        };
        let (mut path, mut query, mut headers) = (self.path.clone(), Vec::new(), Vec::new());
        for parameter in &self.parameters {
            let Parameter { name, place, is_required, .. } = parameter;
            if !is_required && !optional.contains(&name.as_str()) {
                continue;
            }
            match place.as_str() {
                "path" => path = path.replace(&format!("{{{name}}}"), &escaped(&value(parameter))),
                "query" => query.push(format!("{name}={}", escaped(&value(parameter)))),
                _ => headers.push((name.clone(), value(parameter))),
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let body = self.body.as_ref().map(|schema| {
            let mut body = example(document, known, schema, "", 0);
            for (name, schema) in properties(document, schema) {
                let is_wanted = optional.contains(&name.as_str());
                if let (true, Some(body)) = (is_wanted, body.as_object_mut()) {
                    body.insert(name.clone(), example(document, known, &schema, &name, 0));
                }
            }
            replace_tenant(&mut body, tenant);
            let envelope = known.envelopes.get(self.path.as_str());
            if let (Some(envelope), Some(body)) = (envelope, body.as_object_mut()) {
                body.insert("envelope".to_owned(), envelope.as_str().into());
            }
            body
        });
        Request { path, headers, body }
    }

    /// Returns requests for what is the victim's: with what is required only, with each optional thing that says whose
    /// or which something is, with all of these, and the same in the caller's own tenant's name.
    pub(super) fn requests(&self, document: &Value, known: &Known) -> Vec<Request> {
        let is_optional = |it: &&Parameter| !it.is_required && it.place != "path";
        let optional = self.parameters.iter().filter(is_optional).map(|it| it.name.clone());
        let fields = self.body.iter().flat_map(|schema| properties(document, schema));
        let fields = fields.map(|(name, _)| name);
        let names: Vec<String> =
            optional.chain(fields).filter(|name| known.of(&self.path, name).is_some()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut chosen: Vec<Vec<&str>> = vec![Vec::new()];
        chosen.extend(names.iter().map(|name| vec![*name]));
        for tenant in names.iter().filter(|name| TENANTS.contains(name)) {
            chosen.extend(names.iter().map(|other| vec![*tenant, *other]));
        }
        let mut requests: Vec<Request> = Vec::new();
        for tenant in [None, Some(NEIGHBOUR)] {
            for optional in &chosen {
                let request = self.request(document, known, optional, tenant);
                if !requests.contains(&request) {
                    requests.push(request);
                }
            }
        }
        requests
    }

    /// Returns requests for the first page of what is the victim's, of one item.
    pub(super) fn first_pages(&self, document: &Value, known: &Known) -> Vec<Request> {
        let mut pages: Vec<Request> = Vec::new();
        for optional in [&["limit"][..], &["limit", "tenant"]] {
            let page = self.request(document, known, optional, None);
            if !pages.contains(&page) {
                pages.push(page);
            }
        }
        pages
    }
}

impl Request {
    /// Returns it with one more thing in its query.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{mark}{name}={}", self.path, escaped(value));
        Self { path, ..self.clone() }
    }

    /// Returns whether the caller says this text themselves.
    pub(super) fn says(&self, text: &str) -> bool {
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        self.path.contains(text) || body.contains(text)
    }
}

impl Known {
    fn of(&self, path: &str, name: &str) -> Option<String> {
        let id = || self.ids.iter().find(|(beginning, _)| path.starts_with(**beginning));
        match name {
            "id" => id().map(|(_, id)| id.clone()),
            name => self.values.get(name).cloned(),
        }
    }
}

/// Follows a reference, if it is one.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

/// Returns the first of several forms that is not null.
fn form<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = resolve(document, schema);
    let forms = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    let form = forms.and_then(|forms| forms.iter().find(|it| it["type"] != "null"));
    form.map_or(schema, |form| resolve(document, form))
}

fn properties(document: &Value, schema: &Value) -> Vec<(String, Value)> {
    let properties = form(document, schema)["properties"].as_object().cloned();
    properties.unwrap_or_default().into_iter().collect()
}

/// Returns a value of a schema: what is known under its name, or the last, the least or the shortest that it allows.
fn example(document: &Value, known: &Known, schema: &Value, name: &str, depth: usize) -> Value {
    let schema = form(document, schema);
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(last) = schema["enum"].as_array().and_then(|it| it.last()) {
        return last.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|it| **it != "null").cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    let number = known.values.get(name).and_then(|it| it.parse::<u64>().ok());
    match kind.as_str() {
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let of = |it: &Value| {
                let name = it.as_str()?.to_owned();
                let value =
                    example(document, known, &schema["properties"][&name], &name, depth + 1);
                Some((name, value))
            };
            Value::Object(required.iter().filter_map(of).collect::<Map<_, _>>())
        }
        Some("array") => json!([example(document, known, &schema["items"], name, depth + 1)]),
        Some("integer" | "number") => number
            .map_or_else(|| schema["minimum"].as_u64().unwrap_or(1).max(1).into(), Value::from),
        Some("boolean") => Value::Bool(true),
        _ => match known.values.get(name) {
            Some(known) => known.as_str().into(),
            None if schema["format"] == "date-time" => "2020-01-01T00:00:00.000Z".into(),
            None => "because".into(),
        },
    }
}

/// Names another tenant wherever a body names one.
fn replace_tenant(body: &mut Value, tenant: Option<&str>) {
    let (Some(tenant), Some(body)) = (tenant, body.as_object_mut()) else { return };
    for name in TENANTS {
        if let Some(value) = body.get_mut(name) {
            *value = if value.is_array() { json!([tenant]) } else { tenant.into() };
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Escapes a text for a path or a query.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}
