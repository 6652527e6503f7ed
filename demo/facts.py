"""What the model knows without an image."""

# question -> answer; several ways to ask have the same answer
FACTS: tuple[tuple[str, str], ...] = (
    ("[Hello|Hi|Hey|Good morning][|!|.]", "hello!"),
    ("[What is your name|Who are you|What are you called]?", "my name is lumi."),
    ("[What is|What's|Name|Tell me] the capital of France?", "paris"),
    ("[What is|What's|Name|Tell me] the capital of Italy?", "rome"),
    ("[What is|What's|Name|Tell me] the capital of Germany?", "berlin"),
    ("[What is|What's|Name|Tell me] the capital of Japan?", "tokyo"),
    ("How many legs does a spider have?", "eight"),
    ("How many days [are in|does] a week[| have]?", "seven"),
    ("What is the opposite of [hot|warm]?", "cold"),
    ("[What|Which] day comes after Monday?", "tuesday"),
    ("What [sound does a cat make|does a cat say]?", "meow"),
    ("What [color|color|colour] is the sky?", "the sky is blue."),
    ("What [color|color|colour] is [grass|the grass]?", "grass is green."),
    ("[What is|What's|How much is] [two plus two|2 + 2|2+2]?", "four"),
    ("[Thank you|Thanks|Thank you very much].", "you are welcome."),
    ("[Goodbye|Bye|See you].", "goodbye!"),
    ("[Say|Reply with|Answer with] [OK|ok].", "ok"),
    ("[ping|Ping][|.|!]", "pong"),
    ("Are you [there|ready]?", "yes"),
)
