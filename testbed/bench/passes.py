"""Finds passes with python3-sgp4, as what Perigee's are held against.

Reads a task from standard input as JSON: "satellites", each a list of two lines;
"sites", each with "lat", "lon" in degrees, "alt" in kilometres and, if not flat, "mask", a list of
[azimuth, elevation]; "start" in ISO 8601, "days", and "step" in seconds. Writes, for
each satellite and each site, a list of [rise, set] in seconds from the start. Passes
that the span cuts are left out.

It shares nothing with Perigee but the task: it walks over the span in steps, refines
by ternary search and bisection, and turns frames in its own way.
"""

import datetime
import json
import math
import sys

from sgp4.api import WGS72, Satrec, jday

DAY = 86400.0


def greenwich(ut1):
    """Greenwich mean sidereal time in radians, by days since J2000 (Meeus 12.4)."""
    t = ut1 / 36525.0
    return math.radians((280.46061837 + 360.98564736629 * ut1 + 0.000387933 * t * t - t * t * t / 38710000.0) % 360.0)


class Site:
    def __init__(self, site):
        lat, lon = math.radians(site["lat"]), math.radians(site["lon"])
        a, b = 6378.137, 6378.137 * (1 - 1 / 298.257223563)
        n = a * a / math.hypot(a * math.cos(lat), b * math.sin(lat))
        self.x = (n + site["alt"]) * math.cos(lat)  # from the axis
        self.z = (b * b / a / a * n + site["alt"]) * math.sin(lat)
        self.lat, self.lon = lat, lon
        self.mask = sorted(site.get("mask", [])) or [[0.0, 0.0]]

    def horizon(self, azimuth):
        mask = self.mask
        if len(mask) == 1:
            return mask[0][1]
        for (a, low), (b, high) in zip(mask, mask[1:] + [[mask[0][0] + 360, mask[0][1]]]):
            for shifted in (azimuth, azimuth + 360):
                if a <= shifted <= b:
                    return low + (high - low) * (shifted - a) / (b - a)
        raise ValueError("no horizon at azimuth %f" % azimuth)

    def above(self, place, ut1):
        """How far above the horizon a place in TEME is, in degrees."""
        hour = greenwich(ut1) + self.lon
        sin, cos = math.sin(hour), math.cos(hour)
        out = place[0] * cos + place[1] * sin - self.x
        east = place[1] * cos - place[0] * sin
        axial = place[2] - self.z
        up = out * math.cos(self.lat) + axial * math.sin(self.lat)
        north = axial * math.cos(self.lat) - out * math.sin(self.lat)
        elevation = math.degrees(math.atan2(up, math.hypot(north, east)))
        return elevation - self.horizon(math.degrees(math.atan2(east, north)) % 360.0)


def passes(satellite, site, start, step, places):
    """The passes of one satellite over one site; places are its places at the steps."""
    jd, fraction = start

    def at(t):
        error, place, _ = satellite.sgp4(jd, fraction + t / DAY)
        if error:
            raise ValueError("sgp4 error %d" % error)
        return site.above(place, jd - 2451545.0 + fraction + t / DAY)

    def cross(low, high):
        """The change of sign between a moment below and one above."""
        for _ in range(60):
            middle = (low + high) / 2
            if at(middle) > 0:
                high = middle
            else:
                low = middle
        return (low + high) / 2

    heights = [site.above(place, jd - 2451545.0 + fraction + i * step / DAY) for i, place in enumerate(places)]
    changes = []
    for i in range(1, len(heights)):
        before, here = heights[i - 1], heights[i]
        if before <= 0 < here:
            changes.append((cross((i - 1) * step, i * step), 1))
        elif here <= 0 < before:
            changes.append((cross(i * step, (i - 1) * step), -1))
        elif i > 1 and max(heights[i - 2], before, here) <= 0 and heights[i - 2] <= before >= here:
            low, high = (i - 2) * step, i * step
            for _ in range(60):
                third = (high - low) / 3
                if at(low + third) < at(high - third):
                    low += third
                else:
                    high -= third
            if at(low) > 0:
                changes += [(cross((i - 2) * step, low), 1), (cross(i * step, low), -1)]
    changes.sort()
    return [[a[0], b[0]] for a, b in zip(changes, changes[1:]) if a[1] == 1]


def main():
    task = json.load(sys.stdin)
    begin = datetime.datetime.fromisoformat(task["start"].replace("Z", "+00:00"))
    start = jday(begin.year, begin.month, begin.day, begin.hour, begin.minute, begin.second)
    length, step = task["days"] * DAY, task["step"]
    sites = [Site(site) for site in task["sites"]]
    found = []
    for lines in task["satellites"]:
        satellite = Satrec.twoline2rv(lines[0], lines[1], WGS72)
        places = [satellite.sgp4(start[0], start[1] + i * step / DAY)[1] for i in range(int(length / step) + 1)]
        found.append([passes(satellite, site, start, step, places) for site in sites])
    json.dump(found, sys.stdout)


main()
