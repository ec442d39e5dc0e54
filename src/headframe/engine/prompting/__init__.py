"""Prompts: point at an object of a scene and get its outline."""

from headframe.engine.prompting.answering import AnswerOptions
from headframe.engine.prompting.cache import default_cache
from headframe.engine.prompting.embeddings import CacheOptions, SceneEmbeddings, SceneTile
from headframe.engine.prompting.outlines import PromptedMask
from headframe.engine.prompting.prompter import Prompter, load_prompter
from headframe.engine.prompting.prompts import (
    ObjectPrompt,
    PixelPrompt,
    ScenePrompts,
    parse_crs,
    prompts_of,
    prompts_of_file,
)
from headframe.engine.prompting.results import write_mask, write_picture, write_polygons
from headframe.engine.prompting.session import (
    PromptOptions,
    PromptSession,
    answer_all,
    feature_of,
    prompt_scene,
)

__all__ = [
    "AnswerOptions",
    "CacheOptions",
    "ObjectPrompt",
    "PixelPrompt",
    "PromptOptions",
    "PromptSession",
    "PromptedMask",
    "Prompter",
    "SceneEmbeddings",
    "ScenePrompts",
    "SceneTile",
    "answer_all",
    "default_cache",
    "feature_of",
    "load_prompter",
    "parse_crs",
    "prompt_scene",
    "prompts_of",
    "prompts_of_file",
    "write_mask",
    "write_picture",
    "write_polygons",
]
