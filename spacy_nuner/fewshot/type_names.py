"""Names of types for encoders that read them."""

from ..concept_names import readable_name

# Few-NERD's types as the authors of TadNER name them (their INTER setting).
FEWNERD_NAMES = {
    "art-broadcastprogram": "broadcast program",
    "art-film": "film",
    "art-music": "music",
    "art-other": "other art",
    "art-painting": "painting",
    "art-writtenart": "written art",
    "building-airport": "airport",
    "building-hospital": "hospital",
    "building-hotel": "hotel",
    "building-library": "library",
    "building-other": "other building",
    "building-restaurant": "restaurant",
    "building-sportsfacility": "sports facility",
    "building-theater": "theater",
    "event-attack/battle/war/militaryconflict": "attack battle war military conflict",
    "event-disaster": "disaster",
    "event-election": "election",
    "event-other": "other event",
    "event-protest": "protest",
    "event-sportsevent": "sports event",
    "location-GPE": "geographical social political entity",
    "location-bodiesofwater": "bodies of water",
    "location-island": "island",
    "location-mountain": "mountain",
    "location-other": "other location",
    "location-park": "park",
    "location-road/railway/highway/transit": "road railway highway transit",
    "organization-company": "company",
    "organization-education": "education organization",
    "organization-government/governmentagency": "government agency",
    "organization-media/newspaper": "media newspaper",
    "organization-other": "other organization",
    "organization-politicalparty": "political party",
    "organization-religion": "religion",
    "organization-showorganization": "show organization",
    "organization-sportsleague": "sports league",
    "organization-sportsteam": "sports team",
    "other-astronomything": "astronomy thing",
    "other-award": "award",
    "other-biologything": "biology thing",
    "other-chemicalthing": "chemical thing",
    "other-currency": "currency",
    "other-disease": "disease",
    "other-educationaldegree": "educational degree",
    "other-god": "god",
    "other-language": "language",
    "other-law": "law",
    "other-livingthing": "living thing",
    "other-medical": "medical",
    "person-actor": "actor",
    "person-artist/author": "artist author",
    "person-athlete": "athlete",
    "person-director": "director",
    "person-other": "other person",
    "person-politician": "politician",
    "person-scholar": "scholar",
    "person-soldier": "soldier",
    "product-airplane": "airplane",
    "product-car": "car",
    "product-food": "food",
    "product-game": "game",
    "product-other": "other product",
    "product-ship": "ship",
    "product-software": "software",
    "product-train": "train",
    "product-weapon": "weapon",
}


def name_type(label: str) -> str:
    """Read a type as words.

    label (str): A type of Few-NERD, such as "event-sportsevent", or any other label.
    RETURNS (str): The name of it in TadNER ("sports event"), or the label as words.
    """
    return FEWNERD_NAMES.get(label) or readable_name(label)
