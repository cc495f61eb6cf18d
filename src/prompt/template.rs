//! A checkpoint's chat template: Jinja, as transformers reads it.

use std::path::PathBuf;

use minijinja::{Environment, ErrorKind, context, syntax::SyntaxConfig, value::Serde};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Value, json};

use super::{Role, Turn, TurnPart};
use crate::{
    checkpoint::ModelFiles,
    error::{Error, Result},
};

/// LLaVA 1.5's own format (Vicuna v1 without a system line), for folders that have no template.
const VICUNA: &str = "\
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- 'ASSISTANT: ' + message.content | map(attribute='text') | join + eos_token -}}
    {%- else -%}
        {%- if message.role == 'user' %}{{ 'USER: ' }}{% endif -%}
        {%- for part in message.content | selectattr('type', 'equalto', 'image') %}{{ image_token + '\\n' }}{% endfor -%}
        {{- message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join + ' ' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif -%}";

/// Steps a template may take: thousands of turns, and no endless loop.
const FUEL: u64 = 10_000_000;

/// The template's field in JSON files.
const FIELD: &str = "chat_template";

/// Where the folder has no file that says so.
const BUILT_IN: &str = "the built-in Vicuna template";

/// The special tokens that templates write by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpecialTokens {
    pub bos: String,
    pub eos: String,
    pub pad: String,
    pub unk: String,
    pub image: String,
}

/// A chat template, known to work.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    origin: PathBuf,
    style: ContentStyle,
    tokens: SpecialTokens,
}

/// How a template wants the content of a message.
#[derive(Debug, Clone, Copy)]
enum ContentStyle {
    /// `[{"type": "image"}, {"type": "text", "text": …}]`, as multimodal templates do.
    Parts,
    /// One string, as templates of plain language models do; a picture is its token on a line of its own.
    Text,
}

impl ChatTemplate {
    /// The template of a folder: `chat_template.jinja`, `chat_template.json`, the one in
    /// `tokenizer_config.json`, or Vicuna v1 where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the template is no valid Jinja, or does not write what it is given.
    pub fn from_files(files: &ModelFiles, tokens: SpecialTokens) -> Result<Self> {
        let (source, origin) = find(files)?.unwrap_or((VICUNA.to_owned(), BUILT_IN.into()));
        let environment = environment(&source)
            .map_err(|error| Error::model(&origin, format!("not a valid chat template: {error}")))?;
        let mut template = Self { environment, origin, style: ContentStyle::Parts, tokens };
        if let Err(parts) = template.probe() {
            template.style = ContentStyle::Text;
            if template.probe().is_err() {
                return Err(Error::model(template.origin, parts));
            }
        }
        Ok(template)
    }

    /// Renders a picture and a question, and checks that both come out.
    fn probe(&self) -> Result<(), String> {
        const QUESTION: &str = "what is shown";
        let parts = vec![TurnPart::Image, TurnPart::Text(QUESTION.into())];
        let rendered = self.try_render(&[Turn { role: Role::User, parts }])?;
        let images = rendered.matches(&self.tokens.image).count();
        let is_dump = rendered.contains("\"type\"") || rendered.contains("'type'");
        if images == 1 && rendered.contains(QUESTION) && !is_dump {
            return Ok(());
        }
        Err(format!(
            "expected a chat template that writes a picture as one {} and the user's words, found one that makes {rendered:?} of them",
            self.tokens.image
        ))
    }

    /// The conversation as text, ready for the next answer.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] with the template's own complaint.
    pub fn render(&self, turns: &[Turn]) -> Result<String> {
        self.try_render(turns)
            .map_err(|problem| Error::Prompt(format!("{}: {problem}", self.origin.display())))
    }

    fn try_render(&self, turns: &[Turn]) -> Result<String, String> {
        let messages: Vec<Value> = turns
            .iter()
            .map(|turn| json!({ "role": turn.role, "content": self.content(&turn.parts) }))
            .collect();
        let variables = context! {
            messages => Serde(messages),
            add_generation_prompt => true,
            bos_token => self.tokens.bos.as_str(),
            eos_token => self.tokens.eos.as_str(),
            pad_token => self.tokens.pad.as_str(),
            unk_token => self.tokens.unk.as_str(),
            image_token => self.tokens.image.as_str(),
        };
        self.environment
            .get_template(FIELD)
            .and_then(|template| template.render(variables))
            .map_err(|error| format!("the chat template fails: {error}"))
    }

    fn content(&self, parts: &[TurnPart]) -> Value {
        match self.style {
            ContentStyle::Parts => parts
                .iter()
                .map(|part| match part {
                    TurnPart::Image => json!({ "type": "image" }),
                    TurnPart::Text(text) => json!({ "type": "text", "text": text }),
                })
                .collect(),
            ContentStyle::Text => parts
                .iter()
                .map(|part| match part {
                    TurnPart::Image => format!("{}\n", self.tokens.image),
                    TurnPart::Text(text) => text.clone(),
                })
                .collect::<String>()
                .into(),
        }
    }
}

/// Jinja as transformers sets it up.
fn environment(source: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_template_owned(FIELD, without_generation_marks(source))?;
    Ok(environment)
}

/// The source of the folder's template, and the file it is from.
fn find(files: &ModelFiles) -> Result<Option<(String, PathBuf)>> {
    if let Some(bytes) = files.read("chat_template.jinja")? {
        let path = files.path("chat_template.jinja");
        let source = String::from_utf8(bytes.into_owned())
            .map_err(|_| Error::model(&path, "expected UTF-8 text, found other bytes"))?;
        return Ok(Some((source, path)));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let Some(bytes) = files.read(name)? else { continue };
        let path = files.path(name);
        let json: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::model(&path, format!("not valid JSON: {error}")))?;
        let source = match json.get(FIELD) {
            None | Some(Value::Null) => continue,
            Some(Value::String(source)) => Some(source),
            Some(Value::Array(named)) => named_default(named),
            Some(_) => None,
        };
        let Some(source) = source else {
            return Err(Error::model(
                path,
                "chat_template: expected a text, or a list with one called `default`, found neither",
            ));
        };
        return Ok(Some((source.clone(), path)));
    }
    Ok(None)
}

/// The template called `default` in a list of named ones, or the only one.
fn named_default(named: &[Value]) -> Option<&String> {
    let default = named.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"));
    match default.or(named.first())?.get("template")? {
        Value::String(source) => Some(source),
        _ => None,
    }
}

/// `source` with transformers' own `{% generation %}` blocks, which mark what to train on, made transparent.
fn without_generation_marks(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let name = tag.trim_matches(['{', '}', '%', '-', '+', ' ', '\t', '\r', '\n']);
        plain += before;
        match name {
            "generation" => plain += &tag.replace("generation", "if true"),
            "endgeneration" => plain += &tag.replace("endgeneration", "endif"),
            _ => plain += tag,
        }
        rest = after;
    }
    plain + rest
}
