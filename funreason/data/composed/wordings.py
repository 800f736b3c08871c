"""Ways to ask: phrases that requests are put together from, shared out so that no split uses another's.

Every list is dealt in rows of six: four to training, one to dev, one to the gate (`of_split`). A phrase that begins
with `?` is a question of its own; any other is an action that a lead makes a sentence of. `{key}`, `{who}`, `{what}`
and `{where}` hold the values of the parameters with that role, `{more}` the clauses for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

DEALT = {"train": (0, 1, 2, 3), "dev": (4,), "gate": (5,)}
"""The places in each row of six that belong to a split."""

PHRASES: dict[str, tuple[str, ...]] = {
    "lookup": (
        "look up {key}{more}",
        "pull up everything we have on {key}{more}",
        "?What do you know about {key}{more}?",
        "get the details of {key}{more}",
        "open the file of {key}{more}",
        "show what is stored about {key}{more}",
    ),
    "search": (
        "find all {es}{more}",
        "search our {theme} data for {es}{more}",
        "?Which {es} do we have{more}?",
        "list the {es}{more}",
        "show me every {e}{more}",
        "dig out any {es}{more}",
    ),
    "create": (
        "register {key}{more}",
        "add {key} as a new entry{more}",
        "create a record for {key}{more}",
        "put {key} into the system{more}",
        "enter {key} as a new {e}{more}",
        "set up {key}{more}",
    ),
    "update": (
        "change {key}{more}",
        "update {key}{more}",
        "correct the entry of {key}{more}",
        "edit {key}, this time{more}",
        "revise {key}{more}",
        "adjust what is stored for {key}{more}",
    ),
    "cancel": (
        "cancel {key}{more}",
        "delete {key}{more}",
        "remove {key} from the system{more}",
        "take {key} off our books{more}",
        "get rid of {key}{more}",
        "drop {key} for good{more}",
    ),
    "schedule": (
        "book an appointment for {key}{more}",
        "schedule {key}{more}",
        "reserve a slot for {key}{more}",
        "plan an appointment that concerns {key}{more}",
        "find room in the calendar for {key}{more}",
        "put {key} on the agenda{more}",
    ),
    "assign": (
        "assign {key} to {who}{more}",
        "make {who} responsible for {key}{more}",
        "hand {key} over to {who}{more}",
        "let {who} take care of {key}{more}",
        "give {key} to {who}{more}",
        "put {who} in charge of {key}{more}",
    ),
    "share": (
        "send {key} to {who}{more}",
        "share {key} with {who}{more}",
        "forward {key} to {who}{more}",
        "let {who} have a copy of {key}{more}",
        "pass {key} on to {who}{more}",
        "get {key} over to {who}{more}",
    ),
    "order": (
        "order {what} for {key}{more}",
        "buy {what} and book it on {key}{more}",
        "request {what} for {key}{more}",
        "get {what} delivered for {key}{more}",
        "procure {what} on behalf of {key}{more}",
        "place an order of {what} for {key}{more}",
    ),
    "batch": (
        "import these {es}: {what}{more}",
        "add the following {es}: {what}{more}",
        "create {what} as new {es}{more}",
        "enter several {es} at once, namely {what}{more}",
        "load {what} as {es}{more}",
        "register the {es} {what}{more}",
    ),
    "estimate": (
        "?What is the {measure} of {key}{more}?",
        "calculate the {measure} of {key}{more}",
        "work out the {measure} for {key}{more}",
        "?How do I get the {measure} of {key}{more}?",
        "estimate the {measure} for {key}{more}",
        "?Can you tell the {measure} of {key}{more}?",
    ),
    "compare": (
        "compare the {es} {what}{more}",
        "rank the {es} {what}{more}",
        "?How do the {es} {what} compare{more}?",
        "put the {es} {what} side by side{more}",
        "line up the {es} {what}{more}",
        "?Which is ahead among the {es} {what}{more}?",
    ),
    "alert": (
        "set an alert for {key}{more}",
        "keep an eye on {key}{more}",
        "watch {key}{more}",
        "warn us about {key}{more}",
        "raise an alarm for {key}{more}",
        "monitor {key}{more}",
    ),
    "report": (
        "write a report about our {es}{more}",
        "summarize the {es}{more}",
        "?What happened to our {es}{more}?",
        "generate a report on all {es}{more}",
        "export the {es}{more}",
        "put together an overview of the {es}{more}",
    ),
    "rate": (
        "rate {key}{more}",
        "leave a review for {key}{more}",
        "review {key}{more}",
        "store my rating of {key}{more}",
        "give feedback on {key}{more}",
        "grade {key}{more}",
    ),
    "statistics": (
        "get the statistics about {es} in {where}{more}",
        "?What do the numbers say about {es} in {where}{more}?",
        "pull the figures on {es} for {where}{more}",
        "show me statistics of {es} from {where}{more}",
        "?How are {es} doing statistically in {where}{more}?",
        "analyze the {es} of {where}{more}",
    ),
    "check": (
        "?Is {key} available{more}?",
        "check whether {key} is free{more}",
        "?Could we still get {key}{more}?",
        "find out if {key} is available{more}",
        "?Is {key} taken{more}?",
        "see if {key} can be had{more}",
    ),
    "move": (
        "move {key} to {who}{more}",
        "transfer {key} to {who}{more}",
        "bring {key} over to {who}{more}",
        "relocate {key} to {who}{more}",
        "take {key} to {who}{more}",
        "shift {key} over to {who}{more}",
    ),
    "nearby": (
        "find {es} near {where}{more}",
        "?Which {es} are there around {where}{more}?",
        "locate the {es} in and around {where}{more}",
        "show me {es} close to {where}{more}",
        "?Are there any {es} by {where}{more}?",
        "look for {es} in the neighbourhood of {where}{more}",
    ),
    "recommend": (
        "recommend some {es}{more}",
        "?What {es} would you recommend{more}?",
        "suggest a few {es}{more}",
        "pick {es} that suit us{more}",
        "?Any ideas for {es}{more}?",
        "propose {es}{more}",
    ),
}
"""By operation."""

LEADS = (
    "{Do}.",
    "Please {do}.",
    "Can you {do}?",
    "I need to {do}.",
    "Could you {do}?",
    "I want you to {do}.",
    "{Do}, please.",
    "I'd like to {do}.",
    "We have to {do}.",
    "Help me {do}.",
    "Would you {do}?",
    "Let's {do}.",
    "It's time to {do}.",
    "My job today is to {do}.",
    "You should {do}.",
    "I was asked to {do}.",
    "Go ahead and {do}.",
    "I'm hoping you can {do}.",
    "Kindly {do}.",
    "Next, {do}.",
    "I have to {do}.",
    "Is it possible to {do}?",
    "We would like to {do}.",
    "Just {do}.",
)

LINKS = (
    "Also, {s}",
    "Then {s}",
    "After that, {s}",
    "And {s}",
    "On top of that, {s}",
    "Once that is done, {s}",
    "Besides, {s}",
    "In addition, {s}",
    "Next up: {s}",
    "Moreover, {s}",
    "While you're at it, {s}",
    "Lastly, {s}",
)

AGAIN = (
    "Do the same for {clauses}.",
    "Then the same again, but {clauses}.",
    "I also need this for {clauses}.",
    "Repeat it for {clauses}.",
    "And once more: {clauses}.",
    "Likewise for {clauses}.",
)

KEYS: dict[str, tuple[str, ...]] = {
    "code": (
        "{e} {v}",
        "the {e} with {key} {v}",
        "{e} number {v}",
        "the {e} filed under {v}",
        "{v}, a {e}",
        "our {e} {v}",
    ),
    "named": (
        "the {e} {v}",
        "{e} {v}",
        "the {e} called {v}",
        "the {e} '{v}'",
        "the {e} known as {v}",
        'the {e} "{v}"',
    ),
    "several": (
        "the {es} {v}",
        "{es} {v}",
        "these {es}: {v}",
        "all of the {es} {v}",
        "our {es} {v}",
        "the following {es}: {v}",
    ),
    "unnamed": ("a {e}", "some {e}", "one {e}", "this {e}", "my {e}", "our {e}"),
}
"""How a request names the entity: by its code or name, several at once, or not at all."""

CLAUSES: dict[str, tuple[str, ...]] = {
    "value": (
        "with {label} {v}",
        "{label} {v}",
        "with {v} as the {label}",
        "where the {label} is {v}",
        "having {v} as {label}",
        "whose {label} is {v}",
    ),
    "measured": (
        "with {a} of {v}",
        "{a} of {v}",
        "with {label} {v}",
        "at {a} of {v}",
        "given {a} of {v}",
        "for {a} of {v}",
    ),
    "counted": (
        "with {v} {label}",
        "{v} {label}",
        "counting {v} {label}",
        "with a total of {v} {label}",
        "having {v} {label}",
        "at {v} {label}",
    ),
    "when": (
        "on {v}",
        "with {label} {v}",
        "for {v} as the {label}",
        "{label} {v}",
        "dated {v}",
        "setting the {label} to {v}",
    ),
    "clock": (
        "at {v}",
        "with {label} {v}",
        "from {v} on as the {label}",
        "{label} {v}",
        "by {v} as the {label}",
        "setting the {label} to {v}",
    ),
    "yes": (
        "with {label}",
        "including {label}",
        "{label}: yes",
        "and I do want {label}",
        "{label} included",
        "plus {label}",
    ),
    "no": (
        "without {label}",
        "excluding {label}",
        "{label}: no",
        "and I don't want {label}",
        "no {label}",
        "minus {label}",
    ),
    "is": (
        "it is {label}",
        "{label}: yes",
        "that one is {label}",
        "note that it is {label}",
        "it counts as {label}",
        "being {label}",
    ),
    "is not": (
        "it is not {label}",
        "{label}: no",
        "that one isn't {label}",
        "note that it is not {label}",
        "it doesn't count as {label}",
        "not being {label}",
    ),
    "text": (
        'with the {label} "{v}"',
        "{label}: '{v}'",
        'putting "{v}" as the {label}',
        'and "{v}" as {label}',
        "the {label} being '{v}'",
        'adding the {label} "{v}"',
    ),
    "span": (
        "with the {label} {v}",
        "{label} {v}",
        "the {label} {v}",
        "at {label} {v}",
        "for the {label} {v}",
        "where the {label} runs {v}",
    ),
    "period": (
        "{v}",
        "for the time {v}",
        "covering {v}",
        "over the period {v}",
        "during the days {v}",
        "looking at {v}",
    ),
    "address": (
        "to {v}",
        "delivered to {v}",
        "shipping to {v}",
        "with {v} as the address",
        "sent to {v}",
        "bound for {v}",
    ),
    "several": (
        "with the {label} {v}",
        "{label} {v}",
        "showing the {label} {v}",
        "limited to the {label} {v}",
        "using {v} as {label}",
        "and the {label} {v}",
    ),
}
"""Inside a sentence, by what the value is."""

SENTENCES: dict[str, tuple[str, ...]] = {
    "value": (
        "The {label} is {v}.",
        "Use {v} as the {label}.",
        "For the {label}, take {v}.",
        "{Label}: {v}.",
        "The {label} should be {v}.",
        "Set the {label} to {v}.",
        "As for the {label}, it is {v}.",
        "Put {v} down as the {label}.",
        "Make the {label} {v}.",
        "I'd go with {v} for the {label}.",
        "It has {v} as its {label}.",
        "The {label} would be {v}.",
    ),
    "counted": (
        "There are {v} {label}.",
        "It has {v} {label}.",
        "Count {v} {label}.",
        "The number of {label} is {v}.",
        "Expect {v} {label}.",
        "We are talking about {v} {label}.",
    ),
    "yes": (
        "I want {label}.",
        "Please include {label}.",
        "{Label}: yes.",
        "Make sure there is {label}.",
        "Add {label}.",
        "Do include {label}.",
    ),
    "no": (
        "I don't want {label}.",
        "Please leave out {label}.",
        "{Label}: no.",
        "Make sure there is no {label}.",
        "Skip {label}.",
        "Do it without {label}.",
    ),
    "is": (
        "It is {label}.",
        "Note that it is {label}.",
        "{Label}: yes.",
        "By the way, it's {label}.",
        "Mark it as {label}.",
        "It does count as {label}.",
    ),
    "is not": (
        "It is not {label}.",
        "Note that it is not {label}.",
        "{Label}: no.",
        "By the way, it isn't {label}.",
        "Don't mark it as {label}.",
        "It does not count as {label}.",
    ),
    "text": (
        'The {label} should read "{v}".',
        "Give '{v}' as the {label}.",
        '{Label}: "{v}".',
        'Write "{v}" as the {label}.',
        "'{v}' is the {label}.",
        'For the {label} write "{v}".',
    ),
    "several": (
        "For {label} use {v}.",
        "Use the {label} {v}.",
        "Take {v} as {label}.",
        "{Label}: {v}.",
        "The {label} are {v}.",
        "As {label}, choose {v}.",
    ),
    "period": (
        "I mean the time {v}.",
        "The period runs {v}.",
        "Take the days {v}.",
        "It should cover {v}.",
        "Look at {v}.",
        "I'm interested in {v}.",
    ),
    "address": (
        "It should go to {v}.",
        "Deliver to {v}.",
        "The address is {v}.",
        "Ship everything to {v}.",
        "Send it to {v}.",
        "It's for {v}.",
    ),
}
"""As a sentence of its own; what is not listed here uses those of `value`."""

CONTEXTS = (
    "I work in {theme} and things are piling up.",
    "We're getting ready for an inspection.",
    "My colleague is on leave.",
    "I'm tidying up our {theme} data.",
    "This came up in our last call.",
    "Sorry to bother you again.",
    "Our new assistant asked me about this.",
    "I just came back from a break.",
    "There was a mix-up at the front desk.",
    "Our {theme} team is understaffed.",
    "I promised somebody an answer.",
    "Things got a little hectic here.",
    "A customer is waiting on the line.",
    "I've been putting this off.",
    "We changed a few things in {theme} lately.",
    "My manager wants this sorted out.",
    "I'm new to this {theme} tool.",
    "The old system no longer does this.",
    "It's a quiet day, so let's catch up.",
    "I'm on the train and can't log in.",
    "We had a complaint about this.",
    "Our records are a mess.",
    "Quick one for you.",
    "Somebody from {theme} asked for it.",
)

CHATTY = (
    "hey there,",
    "Hola!",
    "ok so",
    "Bonjour,",
    "good morning!",
    "hi again,",
    "Ciao,",
    "sorry for the late message,",
    "Moin!",
    "yo,",
    "hello hello,",
    "Namaste,",
)
"""Before a request as people really type it."""

CLOSERS = (
    "Thanks!",
    "That's all.",
    "Thank you so much.",
    "No rush.",
    "Much appreciated.",
    "Cheers!",
    "Let me know when it's done.",
    "Thanks a lot.",
    "Many thanks in advance.",
    "I'd appreciate it.",
    "Ta!",
    "Appreciate the help.",
)

REFUSALS = (
    "None of the available functions can {do}.",
    "I can't {do} with the tools that I have here.",
    "There is no tool here to {do}.",
    "The tools on offer do not let me {do}.",
    "I don't have a function that can {do}.",
    "To {do}, I would need another tool than those offered.",
)


@cache
def of_split(phrases: Sequence[str], split: str) -> tuple[str, ...]:
    """Those of the phrases that a split may use."""
    return tuple(phrase for place, phrase in enumerate(phrases) if place % 6 in DEALT[split])


@cache
def templates(split: str) -> frozenset[str]:
    """Every template that the queries of a split are made from, each with the place it is used in."""
    lists = {
        **{f"phrase {name}": phrases for name, phrases in PHRASES.items()},
        **{f"key {name}": phrases for name, phrases in KEYS.items()},
        **{f"clause {name}": phrases for name, phrases in CLAUSES.items()},
        **{f"sentence {name}": phrases for name, phrases in SENTENCES.items()},
        "lead": LEADS,
        "link": LINKS,
        "again": AGAIN,
        "context": CONTEXTS,
        "chatty": CHATTY,
        "closer": CLOSERS,
    }
    return frozenset(f"{where}: {phrase}" for where, phrases in lists.items() for phrase in of_split(phrases, split))
