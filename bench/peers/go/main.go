// SPDX-License-Identifier: MIT

// The peer go: the rows in goroutines and channels, and servers.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

// One row under way.
type run struct {
	workers int
	seconds float64 // of measured time, at least
}

// What a batch did. The checksum follows from the work and expected from a closed form.
type work struct {
	operations, checksum, expected uint64
}

type row struct {
	name    string
	workers []int // the numbers of workers it runs on
	run     func(run)
}

var both, one, two = []int{1, 2}, []int{1}, []int{2}

var rows = []row{
	{"spawn_join", both, spawnJoin},
	{"spawn_1000", both, spawn1000},
	{"yield_2", both, yield2},
	{"yield_1000", both, yield1000},
	{"fib", both, runFib},
	{"skynet_tasks", both, runSkynet},
	{"idle_task", one, idleTask},
	{"chan_hop", both, chanHop},
	{"sem_hop", both, semHop},
	{"mpmc", both, mpmc},
	{"mutex_1", one, mutex1},
	{"mutex_16", both, mutex16},
	{"mutex_yield", both, mutexYield},
	{"bounce", two, bounce},
	{"wake_hot", two, wakeHot},
	{"wake_parked", two, wakeParked},
	{"timer_arm", one, timerArm},
	{"timer_arm_1m", one, timerArm1m},
	{"sleep_1m", both, sleep1m},
}

func fail(what string) {
	fmt.Fprintln(os.Stderr, "peer-go:", what)
	os.Exit(1)
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err.Error())
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func report(wall, cpu float64, all work) {
	if all.checksum != all.expected {
		fail("wrong checksum")
	}
	fmt.Printf("%.2f %.2f %d %d\n", wall, cpu, all.operations, all.checksum)
}

func reportOnce(wall, cpu time.Duration, all work) {
	operations := float64(all.operations)
	report(float64(wall)/operations, float64(cpu)/operations, all)
}

// Runs batches of twice as many rounds each time until they have taken run.seconds together, and
// prints their figures. The first batch of one round is not counted.
func measure(run run, batch func(rounds uint64) work) {
	var all work
	var wall, cpu time.Duration
	if warm := batch(1); warm.checksum != warm.expected {
		fail("wrong checksum")
	}
	for rounds := uint64(1); wall.Seconds() < run.seconds; rounds *= 2 {
		cpuBegin, begin := cpuTime(), time.Now()
		done := batch(rounds)
		wall += time.Since(begin)
		cpu += cpuTime() - cpuBegin
		if done.checksum != done.expected {
			fail("wrong checksum")
		}
		all.operations += done.operations
		all.checksum += done.checksum
		all.expected += done.expected
	}
	reportOnce(wall, cpu, all)
}

func printVersion() {
	fmt.Printf("%s, %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key != "GOOS" && setting.Key != "GOARCH" {
				fmt.Printf(", %s=%s", setting.Key, setting.Value)
			}
		}
	}
	fmt.Println()
}

func runRow(name, workersText, secondsText string) int {
	workers, _ := strconv.Atoi(workersText)
	seconds, _ := strconv.ParseFloat(secondsText, 64)
	for _, row := range rows {
		for _, count := range row.workers {
			if row.name == name && count == workers {
				runtime.GOMAXPROCS(workers)
				row.run(run{workers, seconds})
				return 0
			}
		}
	}
	fmt.Fprintln(os.Stderr, "peer-go: no row", name, "on", workersText, "workers")
	return 2
}

func main() {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 1 && arguments[0] == "--version":
		printVersion()
	case len(arguments) == 1 && arguments[0] == "--list":
		for _, row := range rows {
			fmt.Print(row.name)
			for _, count := range row.workers {
				fmt.Print(" ", count)
			}
			fmt.Println()
		}
	case len(arguments) >= 1 && (arguments[0] == "echo" || arguments[0] == "http"):
		os.Exit(serverMain(arguments))
	case len(arguments) == 3:
		os.Exit(runRow(arguments[0], arguments[1], arguments[2]))
	default:
		fmt.Fprintln(os.Stderr,
			"usage: peer-go --version | --list | ROW WORKERS SECONDS | echo ... | http ...")
		os.Exit(2)
	}
}
