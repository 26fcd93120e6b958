// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tasksPerRound  = 1000
	yieldsPerRound = 10000
	fibN           = 30
	skynetLeaves   = 1000000
	skynetTasks    = 1111110 // the root is the caller itself
	idleTasks      = 100000
)

// ---- Spawning ----

func spawnJoin(run run) {
	measure(run, func(rounds uint64) work {
		operations := rounds * tasksPerRound
		var count uint64
		var group sync.WaitGroup
		for i := uint64(0); i < operations; i++ {
			group.Add(1)
			go func() {
				count++
				group.Done()
			}()
			group.Wait()
		}
		return work{operations, count, operations}
	})
}

func spawn1000(run run) {
	measure(run, func(rounds uint64) work {
		var count uint64
		var group sync.WaitGroup
		one := func() {
			atomic.AddUint64(&count, 1)
			group.Done()
		}
		if run.workers == 1 {
			one = func() {
				count++
				group.Done()
			}
		}
		for i := uint64(0); i < rounds; i++ {
			group.Add(tasksPerRound)
			for j := 0; j < tasksPerRound; j++ {
				go one()
			}
			group.Wait()
		}
		return work{rounds * tasksPerRound, count, rounds * tasksPerRound}
	})
}

// ---- Giving way ----

func yields(run run, tasks uint64) {
	measure(run, func(rounds uint64) work {
		share := rounds * yieldsPerRound / tasks
		done := make([]uint64, tasks)
		var group sync.WaitGroup
		group.Add(int(tasks))
		for i := range done {
			go func(out *uint64) {
				count := uint64(0)
				for ; count < share; count++ {
					runtime.Gosched()
				}
				*out = count
				group.Done()
			}(&done[i])
		}
		group.Wait()
		all := work{share * tasks, 0, share * tasks}
		for _, count := range done {
			all.checksum += count
		}
		return all
	})
}

func yield2(run run) {
	yields(run, 2)
}

func yield1000(run run) {
	yields(run, 1000)
}

// ---- Fork and join ----

// One branch in a goroutine, the other here.
func fib(n uint64) uint64 {
	if n < 2 {
		return n
	}
	left := make(chan uint64, 1)
	go func() { left <- fib(n - 1) }()
	right := fib(n - 2)
	return <-left + right
}

func plainFib(n uint64) uint64 {
	value, next := uint64(0), uint64(1)
	for ; n > 0; n-- {
		value, next = next, value+next
	}
	return value
}

func runFib(run run) {
	calls := 2*plainFib(fibN+1) - 1
	measure(run, func(rounds uint64) work {
		all := work{rounds * calls, 0, rounds * plainFib(fibN)}
		for i := uint64(0); i < rounds; i++ {
			all.checksum += fib(fibN)
		}
		return all
	})
}

func skynet(first, leaves uint64, out chan<- uint64) {
	if leaves == 1 {
		out <- first
		return
	}
	sums := make(chan uint64, 10)
	share := leaves / 10
	for i := uint64(0); i < 10; i++ {
		go skynet(first+i*share, share, sums)
	}
	sum := uint64(0)
	for i := 0; i < 10; i++ {
		sum += <-sums
	}
	out <- sum
}

func runSkynet(run run) {
	measure(run, func(rounds uint64) work {
		all := work{rounds * skynetTasks, 0, rounds * (skynetLeaves / 2) * (skynetLeaves - 1)}
		out := make(chan uint64, 1)
		for i := uint64(0); i < rounds; i++ {
			skynet(0, skynetLeaves, out)
			all.checksum += <-out
		}
		return all
	})
}

// ---- Memory ----

func residentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		fail(err.Error())
	}
	var all, resident uint64
	if _, err := fmt.Sscan(string(text), &all, &resident); err != nil {
		fail(err.Error())
	}
	return resident * uint64(os.Getpagesize())
}

// The value is bytes.
func idleTask(run run) {
	var parked, ended sync.WaitGroup
	var count uint64
	gate := make(chan struct{})
	runtime.GC()
	before := residentBytes()
	cpuBegin := cpuTime()
	parked.Add(idleTasks)
	ended.Add(idleTasks)
	for i := 0; i < idleTasks; i++ {
		go func() {
			parked.Done()
			<-gate
			count++ // one worker, and nothing here gives way
			ended.Done()
		}()
	}
	parked.Wait()
	runtime.Gosched()
	cpu := cpuTime() - cpuBegin
	bytes := residentBytes() - before
	close(gate)
	ended.Wait()
	all := work{idleTasks, count, idleTasks}
	report(float64(bytes)/idleTasks, float64(cpu/time.Nanosecond)/idleTasks, all)
}
