"""Makes films/, the ratings of 300 viewers for 80 films that do not exist: python3 examples/data/films.py

A rating from 1 to 5 is the quality of the film, plus how much the age group of the viewer likes its genre, plus a taste of the
viewer, plus chance. Viewers rather watch what they like.
"""

import csv
import pathlib
import random

FOLDER = pathlib.Path(__file__).parent / "films"
FILMS, VIEWERS = 80, 300
AGES = ["under 18", "18 to 35", "36 to 60", "over 60"]
# How much each age group likes each genre.
GENRES = {
    "animation": [1.0, 0.0, -0.3, -0.5],
    "comedy": [0.4, 0.3, 0.1, 0.0],
    "documentary": [-0.9, 0.0, 0.3, 0.9],
    "drama": [-0.5, 0.1, 0.4, 0.6],
    "science fiction": [0.6, 0.6, -0.2, -0.7],
    "thriller": [-0.3, 0.5, 0.2, -0.2],
}
ADJECTIVES = ["Silent", "Golden", "Last", "Hidden", "Burning", "Distant", "Broken", "Second", "Frozen", "Paper"]
NOUNS = ["Harbour", "Garden", "Signal", "Winter", "Letter", "Orchard", "Machine", "Summer"]


def write(name, header, rows):
    with open(FOLDER / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main():
    chance = random.Random(7)
    titles = [f"The {adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS]
    chance.shuffle(titles)
    films = [(film + 1, titles[film], chance.choice(list(GENRES)), chance.randint(1960, 2024)) for film in range(FILMS)]
    quality = [chance.gauss(0, 0.5) for _ in films]
    viewers = [(viewer + 1, chance.choice(AGES)) for viewer in range(VIEWERS)]
    ratings = []
    for viewer, age in viewers:
        taste = {genre: likes[AGES.index(age)] + chance.gauss(0, 0.6) for genre, likes in GENRES.items()}
        nostalgia = chance.gauss(0, 0.4)
        mood = chance.gauss(0, 0.3)
        for (film, _, genre, year), good in zip(films, quality):
            liking = good + taste[genre] + nostalgia * (1992 - year) / 32
            if chance.random() < 0.25 + 0.12 * liking:
                rating = round(3.3 + mood + liking + chance.gauss(0, 0.5))
                ratings.append((viewer, film, min(max(rating, 1), 5)))
    FOLDER.mkdir(exist_ok=True)
    write("films", ["film_id", "title", "genre", "year"], films)
    write("viewers", ["viewer_id", "age_group"], viewers)
    write("ratings", ["viewer_id", "film_id", "rating"], ratings)


main()
