"""The kinds of tool that the tiny models train on, with ways to ask for each; knows no generator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of tool: `|` parts alternatives, `*` marks an integer, `{0}` a slot in a question."""

    names: str
    descriptions: str
    parameters: tuple[str, ...]
    asks: str


KINDS = (
    Kind(
        "get_weather|weather|check_weather",
        "Get the weather in a city.|Look up current weather.",
        ("city|location|place",),
        "What is the weather in {0}?|How is the weather in {0} today?|Weather for {0}, please.",
    ),
    Kind(
        "get_forecast|forecast",
        "Get the forecast for some days.|Weather forecast.",
        ("city|location", "days|num_days*"),
        "Give me a {1} day forecast for {0}.|What will the weather be in {0} for the next {1} days?",
    ),
    Kind(
        "search|web_search|search_web",
        "Search the web.|Find pages on the internet.",
        ("query|q|text",),
        "Search for {0}.|Search the web for {0}.|Look up {0} on the web.|Find pages about {0}.",
    ),
    Kind(
        "send_message|send_sms|message",
        "Send a message to a person.|Text someone.",
        ("to|recipient|name", "text|message|body"),
        'Send a message to {0} saying "{1}".|Tell {0}: {1}|Text {0} that {1}.',
    ),
    Kind(
        "send_email|email",
        "Send an email.|Write an email to someone.",
        ("to|recipient|address", "subject|title"),
        'Send an email to {0} about {1}.|Email {0} with the subject "{1}".',
    ),
    Kind(
        "set_timer|start_timer|timer",
        "Start a timer.|Set a timer in minutes.",
        ("minutes|duration*",),
        "Set a timer for {0} minutes.|Start a {0} minute timer.|Wake me in {0} minutes.",
    ),
    Kind(
        "set_alarm|alarm",
        "Set an alarm.|Set an alarm at a time.",
        ("hour*", "minute*"),
        "Set an alarm for {0}:{1}.|Wake me at {0}:{1}.",
    ),
    Kind(
        "play_music|play_song|play",
        "Play a song.|Play music.",
        ("song|title|track",),
        "Play {0}.|Play the song {0}.|I want to hear {0}.",
    ),
    Kind(
        "translate|translate_text",
        "Translate text to a language.|Translate a text.",
        ("text", "language|target"),
        'Translate "{0}" to {1}.|How do you say {0} in {1}?|Translate {0} into {1}.',
    ),
    Kind(
        "add_note|save_note|write_note",
        "Save a note.|Write down a note.",
        ("text|note|content",),
        'Note: {0}|Write down "{0}".|Save a note saying {0}.',
    ),
    Kind(
        "add_item|add_to_cart|buy",
        "Add an item to the cart.|Buy an item.",
        ("item|product", "quantity|count*"),
        "Add {1} {0} to my cart.|Buy {1} of {0}.|Order {1} {0}.",
    ),
    Kind(
        "open_file|read_file|read",
        "Read a file.|Open a file by its path.",
        ("path|file|filename",),
        "Open the file {0}.|Read {0}.|Show me what is in {0}.",
    ),
    Kind(
        "write_file|save_file",
        "Write text to a file.|Save a file.",
        ("path|filename", "text|content"),
        'Write "{1}" to the file {0}.|Save {1} in {0}.|Save the text "{1}" as {0}.',
    ),
    Kind(
        "book_table|reserve_table",
        "Book a table.|Reserve a restaurant table.",
        ("restaurant|place", "people|guests*"),
        "Book a table for {1} at {0}.|Reserve a table at {0} for {1} people.",
    ),
    Kind(
        "get_time|current_time|time_in",
        "Get the time in a city.|Current local time.",
        ("city|timezone|place",),
        "What time is it in {0}?|Tell me the time in {0}.|Local time in {0}?",
    ),
    Kind(
        "call_contact|phone|call_person",
        "Call a person.|Make a phone call.",
        ("name|contact|person",),
        "Call {0} on the phone.|Phone {0}.|Ring {0}, please.",
    ),
    Kind(
        "get_stock_price|stock_price|quote",
        "Get a stock price.|Look up a share price.",
        ("symbol|ticker|company",),
        "What is the stock price of {0}?|How much is a share of {0}?|Stock quote for {0}.",
    ),
    Kind(
        "find_route|directions|navigate",
        "Find a route.|Directions between places.",
        ("start|origin", "end|destination"),
        "How do I get from {0} to {1}?|Find a route from {0} to {1}.|Directions from {0} to {1}.",
    ),
    Kind(
        "create_event|add_event",
        "Create a calendar event.|Add an event.",
        ("title|name", "day*"),
        "Add {0} to my calendar on day {1}.|Create an event called {0} for day {1}.",
    ),
    Kind(
        "add|add_numbers|plus",
        "Add two numbers.|The sum of two integers.",
        ("a|x*", "b|y*"),
        "Use the tool to add {0} and {1}.|Add the numbers {0} and {1}.",
    ),
    Kind(
        "multiply|times|product",
        "Multiply two numbers.|The product of two integers.",
        ("a|x*", "b|y*"),
        "Use the tool to multiply {0} by {1}.|Multiply the numbers {0} and {1}.",
    ),
    Kind(
        "set_light|light|dim_light",
        "Set a light's level.|Change the light in a room.",
        ("room", "level|percent*"),
        "Set the light in {0} to {1}.|Dim the {0} light to {1} percent.",
    ),
    Kind(
        "get_user|find_user|lookup_user",
        "Look up a user by id.|Find a user.",
        ("user_id|id*",),
        "Who is user {0}?|Look up user {0}.|Find the user with id {0}.",
    ),
    Kind(
        "define|define_word|dictionary",
        "Define a word.|Look up a word's meaning.",
        ("word|term",),
        'What does {0} mean?|Define {0}.|What is the meaning of "{0}"?',
    ),
)
