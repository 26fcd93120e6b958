#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The report's own test: report_test.py CLAIM runs one claim, without an argument all.

raw.json is a record made up for it. Each of its rows is there for one case, said where it is
tested.
"""

import copy
import json
import os
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench", "report"))

import assess
import draw
import measure
import page
import report
import rows
import stats
import twin


def raw_read():
    with open(os.path.join(HERE, "raw.json"), encoding="utf-8") as file:
        return json.load(file)


def results_of(raw):
    return {result.name: result for result in assess.assess(raw)}


class Statistics(unittest.TestCase):
    """report.statistics"""

    def test_median(self):
        self.assertEqual(stats.median([3, 1, 2]), 2)
        self.assertEqual(stats.median([4, 1, 2, 3]), 2.5)

    def test_interval_is_as_in_tables(self):
        """k of n from the published tables of the sign test, at 95 %."""
        for n, k in ((6, 1), (7, 1), (8, 1), (9, 2), (12, 3), (15, 4), (20, 6), (25, 8)):
            found = stats.estimate(range(1, n + 1))
            self.assertEqual((found.low, found.high), (k, n + 1 - k), n)
            self.assertTrue(found.is_certain)
            self.assertLess(stats.coverage(n, k + 1), 0.95)
        self.assertAlmostEqual(stats.coverage(7, 1), 1 - 2 / 128)

    def test_few_values_are_not_certain(self):
        self.assertFalse(stats.estimate([1, 2, 3, 4, 5]).is_certain)
        one = stats.estimate([2])
        self.assertEqual((one.low, one.median, one.high, one.is_certain), (2, 2, 2, False))

    def test_ratios_are_of_one_round(self):
        """Only rounds that both have, whatever their order."""
        self.assertEqual(stats.ratios({0: 1, 2: 6, 1: 9}, {2: 3, 0: 2, 3: 1}), [0.5, 2])

    def test_pairs_cancel_what_both_suffer(self):
        """The machine is three times as slow in some rounds: the ratio does not see it."""
        slow = (1, 3, 1, 3, 2, 1, 3)
        ours = {at: 8.0 * by for at, by in enumerate(slow)}
        theirs = {at: 10.0 * by for at, by in enumerate(slow)}
        found = stats.estimate(stats.ratios(ours, theirs))
        self.assertAlmostEqual(found.low, 0.8)
        self.assertAlmostEqual(found.high, 0.8)

    def test_noise_is_the_farther_end(self):
        self.assertAlmostEqual(stats.noise_floor(stats.estimate([0.8, 1, 1.1])), 0.25)
        self.assertAlmostEqual(stats.noise_floor(stats.estimate([0.99, 1, 1.1])), 0.1)

    def test_verdicts(self):
        def of(low, middle, high, floor):
            return stats.verdict(stats.Estimate(middle, low, high, 7, 0.98), floor)
        self.assertEqual(of(0.7, 0.8, 0.9, 0.05), stats.WIN)
        self.assertEqual(of(0.94, 0.96, 0.98, 0.05), stats.TIE)  # smaller than the noise
        self.assertEqual(of(0.7, 0.8, 1.01, 0.05), stats.TIE)  # the interval contains 1
        self.assertEqual(of(1.1, 1.2, 1.3, 0.05), stats.LOSS)
        self.assertEqual(of(1.01, 1.04, 1.1, 0.05), stats.TIE)
        self.assertEqual(of(0.1, 0.1, 0.1, None), stats.TIE)  # the noise is not known


class Verdicts(unittest.TestCase):
    """report.verdicts"""

    def setUp(self):
        self.raw = raw_read()
        self.results = results_of(self.raw)

    def states(self, name):
        return [(check.text, check.state) for check in self.results[name].checks]

    def test_win_below_the_noise_is_a_tie(self):
        """4 % better than Go, whereas ours / ours is up to 8 % from 1."""
        result = self.results["mutex_1.1"]
        self.assertLess(result.ratio.high, 1.05)
        self.assertAlmostEqual(result.ratio.median, 0.96, delta=0.02)
        self.assertGreater(result.floor, 0.04)
        self.assertEqual(result.verdict, stats.TIE)

    def test_win_above_the_noise_is_a_win(self):
        """The same row with ours as steady as the others."""
        raw = copy.deepcopy(self.raw)
        raw["cells"]["bonxie BM_MutexUncontended"]["samples"] = [
            {"round": at, "real_time": 8.0} for at in range(7)]
        raw["cells"]["again BM_MutexUncontended"] = raw["cells"]["bonxie BM_MutexUncontended"]
        self.assertEqual(results_of(raw)["mutex_1.1"].verdict, stats.WIN)

    def test_loss(self):
        """30 ns against libuv's 22."""
        result = self.results["timer_arm.1"]
        self.assertEqual((result.verdict, result.best.name), (stats.LOSS, "libuv"))
        self.assertEqual([r.name for r in assess.losses(self.results.values())], ["timer_arm.1"])
        self.assertEqual(self.states("timer_arm.1"),
                         [("≤ 0.7× libuv", assess.MISSED), ("≤ 0.1× go or tokio", assess.OPEN)])

    def test_scaled(self):
        """neco took 128 where Tokio took 241, and that flavour of Tokio takes 241 here."""
        result = self.results["spawn_join.1"]
        self.assertEqual((result.best.name, result.best.is_scaled), ("neco", True))
        self.assertAlmostEqual(result.best.median, 128, delta=3)
        self.assertEqual(twin.verdict(result), "win, scaled")
        self.assertTrue(result.checks[0].is_scaled)
        self.assertEqual(self.states("spawn_join.1"), [("≤ 0.35× neco (scaled)", assess.MET)])

    def test_scale_follows_the_reference(self):
        raw = copy.deepcopy(self.raw)
        for sample in raw["cells"]["tokio-multi spawn_join 1"]["samples"]:
            sample["wall"] *= 1.25
        more = results_of(raw)["spawn_join.1"].best.median
        self.assertAlmostEqual(more, 1.25 * self.results["spawn_join.1"].best.median)

    def test_scale_is_of_the_flavour_measured_there(self):
        """On one worker the current_thread flavour scales nothing; it is a competitor."""
        raw = copy.deepcopy(self.raw)
        for sample in raw["cells"]["tokio spawn_join 1"]["samples"]:
            sample["wall"] *= 2
        result = results_of(raw)["spawn_join.1"]
        self.assertEqual(result.best.median, self.results["spawn_join.1"].best.median)
        self.assertLessEqual({"tokio", "tokio-multi"}, {side.name for side in result.sides})
        del raw["cells"]["tokio-multi spawn_join 1"]
        sides = results_of(raw)["spawn_join.1"].sides
        self.assertFalse([side.name for side in sides if side.is_scaled])

    def test_without_reference_nothing_is_scaled(self):
        """oneTBB is not there: libfork and citor have no figure, the target stays open."""
        self.assertIsNone(self.results["fib.1"].best)
        self.assertEqual(self.results["fib.1"].verdict, stats.NONE)
        self.assertEqual(self.states("fib.1"), [("≤ 1× libfork or citor", assess.OPEN)])

    def test_failed(self):
        """Boost.Fiber never ends; Tokio fails once of seven times."""
        never = self.results["mpmc.1"]
        self.assertEqual([side.name for side in never.failed], ["boost_fiber"])
        self.assertIsNone(never.best)
        self.assertEqual(self.states("mpmc.1")[0], ("≤ 0.4× boost_fiber", assess.OPEN))
        once = self.results["mpmc.2"]
        self.assertEqual([(side.name, side.failures) for side in once.failed], [("tokio", 1)])
        self.assertEqual(once.ratio.count, 6)

    def test_targets_of_other_kinds(self):
        self.assertEqual(self.states("mutex_16.2"), [("≤ 0.4× go or ≤ 45", assess.MET)])
        self.assertIn(("≤ 3× BM_Switch", assess.MET), self.states("yield_2.1"))
        self.assertEqual(self.states("idle_wakes"), [("≤ 5 /s", assess.MET)])
        self.assertEqual(self.states("idle_cpu"), [("≤ 0.2 %", assess.MISSED)])
        self.assertEqual(self.states("scale_fib"), [("speed-up ≥ 1.8", assess.MISSED)])

    def test_servers(self):
        """1.7 % above bare-epoll, the better of two; but the interval reaches beyond 1.06."""
        bare = self.results["echo.1.64.bare"]
        self.assertEqual((bare.best.name, bare.verdict), ("bare-epoll", stats.TIE))
        self.assertGreater(bare.ratio.high, 1.06)
        self.assertEqual(bare.checks[0].state, assess.MISSED)
        self.assertEqual(self.results["echo.1.64.peer"].verdict, stats.WIN)
        self.assertEqual(self.results["echo.1.1.bare"].checks[0].state, assess.MET)
        self.assertEqual(self.results["echo.spin"].checks[0].state, assess.MET)
        self.assertEqual(self.results["cache.get.1.redis"].verdict, stats.WIN)

    def test_table_names_what_is_measured(self):
        """Each target's competitors exist, each row once."""
        names = [entry.name for entry in (*rows.ROWS, *rows.BOUNDS, *rows.SCALINGS)]
        self.assertEqual(len(names), len(set(names)))
        scaled = {name for known in rows.ELSEWHERE.values() for name in known.peers}
        measured = {"tokio", "go", "libuv", "boost_fiber", "tbb", "asyncio"}
        for row in rows.ROWS:
            for target in row.targets:
                self.assertLessEqual(set(target.against), scaled | measured, row.name)


class Page(unittest.TestCase):
    """report.page"""

    def setUp(self):
        self.raw = raw_read()
        self.folder = tempfile.TemporaryDirectory()
        self.results = report.make(self.raw, self.folder.name, with_png=False)
        self.html = self.read("index.html")
        self.tree = xml.etree.ElementTree.fromstring(self.html)

    def tearDown(self):
        self.folder.cleanup()

    def read(self, name):
        with open(os.path.join(self.folder.name, name), encoding="utf-8") as file:
            return file.read()

    def section(self, name):
        for section in self.tree.iter("section"):
            head = section.find("h2")
            if head is not None and head.text.startswith(name):
                return "\n".join("".join(item.itertext()) for item in section.iter("li"))
        self.fail(f"no section {name}")

    def test_nothing_from_elsewhere(self):
        for element in self.tree.iter():
            self.assertNotIn(element.tag, ("script", "link", "iframe", "object", "embed", "img"))
            for name in ("src", "href", "data", "action"):
                self.assertNotIn(name, element.attrib)
        self.assertNotRegex(self.html, r"url\(|@import|https?://(?!127\.0\.0\.1)")

    def test_losses_stand_first(self):
        lists = [section for section in self.tree.iter("section")
                 if section.get("class", "").startswith("list")]
        self.assertTrue(lists[0].find("h2").text.startswith("Losses (1)"))
        self.assertIn("arm and cancel a timer", self.section("Losses"))
        self.assertIn("libuv", self.section("Losses"))
        self.assertLess(self.html.index("Losses"), self.html.index("<table"))
        self.assertNotIn("mutex, uncontended", self.section("Wins"))
        self.assertIn("upper end ≤ 1.06", self.section("Targets missed"))

    def test_failed_cells_are_shown(self):
        self.assertIn("boost_fiber, 7 of 7 samples: no end within 60 s", self.section("Failed"))
        self.assertIn('tokio, 1 of 7 samples: ended with 1: <wrong> & "odd"',
                      self.section("Failed"))
        self.assertIn("failed: no end within 60 s", self.html)

    def test_scaled_is_marked(self):
        lines = ["".join(line.itertext()) for line in self.tree.iter("tr")]
        line = next(line for line in lines if line.startswith("spawn and join one task, 1 worker"))
        self.assertIn("winscaled", line)
        self.assertIn("neco (scaled)", line)

    def test_warnings(self):
        warnings = "".join(self.tree.find(".//aside").itertext())
        for said in ("load was 2.5", "hypervisor took 3.0 %", "differs from the commit", "DEBUG",
                     "servers: 12 of 15 rounds"):
            self.assertIn(said, warnings)

    def test_each_figure_has_its_command(self):
        figures = list(self.tree.iter("figure"))
        self.assertGreater(len(figures), 15)
        for figure in figures:
            command = figure.find("figcaption/code").text
            self.assertTrue(command.startswith("bench/run --full"))
            only = re.search(r"--only '(.*)'", command)
            if only:
                arguments = ["--bin", ".", "--out", "x", "--only", only[1]]
                self.assertEqual(measure.options_parse(arguments).only, only[1])
                self.assertTrue(any(re.search(only[1], name) for name in known_names()), only[1])

    def test_text_says_the_same(self):
        text = self.read("report.txt")
        self.assertIn(twin.summary(self.results), text)
        self.assertIn(twin.summary(self.results), self.html)
        for said in ("win, scaled", "no end within 60 s", "An <odd> CPU & more",
                     "left out: no nginx", "arm and cancel a timer, 1 worker: 1.3"):
            self.assertIn(said, text)

    def test_table_has_a_line_for_each_target(self):
        results = assess.assess(self.raw)
        lines = twin.table(self.raw, results).split("\n")
        self.assertEqual(len(lines), 4 + sum(len(result.checks) for result in results))
        self.assertTrue(all(line.count("|") == 6 for line in lines[2:]))
        missed = [line for line in lines if line.endswith("| **MISSED** |")]
        self.assertEqual(len(missed), len(assess.missed(results)))
        self.assertTrue(any(line.startswith("| arm and cancel a timer, 1 worker | 30") and
                            "| ≤ 0.7× libuv | 1.3" in line for line in missed))

    def test_nothing_measured_is_a_report_too(self):
        raw = {**self.raw, "cells": {}}
        tree = xml.etree.ElementTree.fromstring(page.html_of(raw, assess.assess(raw), []))
        self.assertIn("0 wins, 0 ties, 0 losses", "".join(tree.itertext()))


def known_names():
    """What --only is looked for in."""
    columns = [f"{protocol}.{workers}.{connections}" for protocol in rows.PROTOCOLS
               for workers in rows.SERVER_WORKERS for connections in rows.CONNECTIONS]
    return [entry.name for entry in (*rows.ROWS, *rows.BOUNDS, *rows.SCALINGS)] + columns + [
        "curve", "cache", "proxy", "witness"]


class Charts(unittest.TestCase):
    """report.charts"""

    def test_svg_needs_no_matplotlib(self):
        """With matplotlib out of reach there is every chart in the page, and no PNG."""
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules)
                  if name.partition(".")[0] == "matplotlib"}
        sys.modules["matplotlib"] = None
        try:
            self.assertFalse(draw.has_png())
            with tempfile.TemporaryDirectory() as folder:
                report.make(raw_read(), folder)
                self.assertEqual(sorted(os.listdir(folder)), ["index.html", "report.txt"])
                tree = xml.etree.ElementTree.parse(os.path.join(folder, "index.html"))
        finally:
            del sys.modules["matplotlib"]
            sys.modules.update(hidden)
        charts = list(tree.iter("svg"))
        self.assertGreater(len(charts), 15)
        for chart in charts:
            self.assertGreater(len(list(chart)), 5)
            self.inside(chart)

    def inside(self, chart):
        """Every shape lies in its picture, every colour in the style."""
        width, height = map(float, chart.get("viewBox").split()[2:])
        roles = set(draw.COLORS) | {"none"}
        for shape in chart:
            for name in shape.get("class", "").split():
                self.assertIn(name.partition("-")[2], roles)
            points = [tuple(map(float, point.split(",")))
                      for point in shape.get("points", "").split()]
            if shape.tag in ("text", "rect"):
                points.append((float(shape.get("x")), float(shape.get("y"))))
            if shape.tag == "text":
                points.append(self.far_end(shape))
            for x, y in points:
                shown = xml.etree.ElementTree.tostring(shape)
                self.assertTrue(-0.5 <= x <= width + 0.5 and -0.5 <= y <= height + 0.5,
                                f"{chart.find('title').text}: {shown}")

    def far_end(self, text):
        room = draw.text_width(text.text, float(text.get("font-size"))) * 0.9
        part = {"start": 1, "middle": 0.5, "end": -1}[text.get("text-anchor")]
        return float(text.get("x")) + part * room, 1

    def test_png_where_matplotlib_is(self):
        if not draw.has_png():
            self.skipTest("no matplotlib")
        canvas = draw.Canvas(120, 60, "a chart")
        canvas.line([(0, 0), (120, 60)], "ink", 2, "2 2")
        canvas.box(10, 10, 30, 20, "band", "blue")
        for shape in draw.MARKERS:
            canvas.mark(60, 30, shape, 4, "paper", "vermillion")
        canvas.text(5, 50, "$5 & <more>", 11, "soft", "start", True)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "chart.png")
            draw.png(canvas, path)
            with open(path, "rb") as file:
                self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")


class Measuring(unittest.TestCase):
    """report.measuring"""

    def record(self, folder):
        """A measurement by programs that say what the real ones would, one of them wrong."""
        def program(name, text):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\n" + text)
            os.chmod(path, 0o755)
        bench = {"context": {"library_build_type": "release"}, "benchmarks": [
            {"name": "any", "real_time": 3.0, "cpu_time": 2.0, "time_unit": "us", "iterations": 5}]}
        program("bonxie-bench", f"echo '{json.dumps(bench)}'\n")
        program("peer-good", 'case $1 in --version) echo good 1.0;; --list) echo "mutex_1 1";;\n'
                '*) echo "40.5 41 1000 7";; esac\n')
        program("peer-bad", 'case $1 in --version) echo bad 1.0;; --list) echo "mutex_1 1 2";;\n'
                '*) echo "wrong checksum" >&2; exit 1;; esac\n')
        with open(os.path.join(folder, "peers.txt"), "w", encoding="utf-8") as file:
            file.write("good built\nbad built\nabsent missing no libabsent-dev\ngone built\n")
        out = os.path.join(folder, "raw.json")
        arguments = ["--bin", folder, "--out", out, "--only", "^mutex_1$", "--rounds", "3",
                     "--seed", "5"]
        self.assertEqual(measure.main(arguments), 0)
        with open(out, encoding="utf-8") as file:
            return json.load(file)

    def test_from_programs_to_verdicts(self):
        with tempfile.TemporaryDirectory() as folder:
            raw = self.record(folder)
        self.assertEqual(sorted(raw["cells"]), ["again BM_MutexUncontended", "bad mutex_1 1",
                                                "bonxie BM_MutexUncontended", "good mutex_1 1"])
        ours = raw["cells"]["bonxie BM_MutexUncontended"]
        self.assertEqual([sample["round"] for sample in ours["samples"]], [0, 1, 2])
        self.assertEqual(ours["samples"][0]["real_time"], 3000)
        bad = raw["cells"]["bad mutex_1 1"]
        self.assertEqual((bad["samples"], len(bad["failures"])), ([], 3))
        self.assertEqual(bad["failures"][0]["why"], "ended with 1: wrong checksum")
        self.assertEqual({peer["name"]: peer["detail"] for peer in raw["peers"]
                          if peer["name"] not in ("nginx", "redis", "haproxy")},
                         {"good": "good 1.0", "bad": "bad 1.0", "absent": "no libabsent-dev",
                          "gone": "its build failed"})
        self.assertEqual((raw["seed"], raw["rounds"]), (5, {"rows": [3, 3]}))
        result = results_of(raw)["mutex_1.1"]
        self.assertEqual((result.best.name, result.verdict), ("good", stats.LOSS))


    def test_scaling_flavour_is_measured(self):
        """Of Tokio on one worker both flavours, on two the one that there is."""
        row = next(row for row in rows.ROWS if row.name == "mpmc")
        self.assertEqual(measure.sides_of(row, "tokio"), [
            ("tokio", "mpmc", 1), ("tokio", "mpmc", 2), ("tokio-multi", "mpmc_mutex", 1),
            ("tokio", "mpmc_mutex", 2)])
        self.assertEqual(measure.sides_of(row, "go"), [("go", "mpmc", 1), ("go", "mpmc", 2)])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "peer-tokio")
            with open(path, "w", encoding="utf-8") as file:
                file.write('#!/bin/sh\n'
                           'case $1 in --list) echo "spawn_join 1";; --version) echo 1;;\n'
                           '*) echo "${PEER_TOKIO_MULTI_THREAD:-5} 2 3 4 6";; esac\n')
            os.chmod(path, 0o755)
            with open(os.path.join(folder, "peers.txt"), "w", encoding="utf-8") as file:
                file.write("tokio built\n")
            out = os.path.join(folder, "raw.json")
            self.assertEqual(measure.main(["--bin", folder, "--out", out, "--only", "^spawn_join$",
                                           "--rounds", "1"]), 0)
            with open(out, encoding="utf-8") as file:
                cells = json.load(file)["cells"]
        walls = {name: cells[name]["samples"][0]["wall"] for name in
                 ("tokio spawn_join 1", "tokio-multi spawn_join 1")}
        self.assertEqual(list(walls.values()), [5, 1])
        self.assertEqual(cells["tokio spawn_join 1"]["samples"][0]["tail"], 6)


CLAIMS = {claim.__doc__: claim for claim in (Statistics, Verdicts, Page, Charts, Measuring)}


def main(arguments):
    if any(argument not in CLAIMS for argument in arguments):
        print("claims:", *CLAIMS, file=sys.stderr)
        return 2
    suite = unittest.TestSuite()
    for claim in arguments or CLAIMS:
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(CLAIMS[claim]))
    done = unittest.TextTestRunner(verbosity=1).run(suite)
    return 0 if done.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
