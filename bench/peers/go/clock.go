// SPDX-License-Identifier: MIT

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	startsPerRound = 1000
	pendingTimers  = 1000000
	sleeps         = 1000000
	sleepsSpread   = 10 * time.Second
	wakesPerRound  = 100
)

// ---- Timers armed and stopped ----

// In the course of an hour and in no order.
func far(number uint64) time.Duration {
	return time.Hour + time.Duration(number*2654435761%uint64(time.Hour))
}

func timers(run run, pending uint64) {
	all := make([]*time.Timer, pending)
	for i := range all {
		all[i] = time.NewTimer(far(uint64(i)))
	}
	number := pending
	timer := time.NewTimer(far(number))
	timer.Stop()
	measure(run, func(rounds uint64) work {
		starts := rounds * startsPerRound
		done := work{starts, 0, 2 * starts}
		for i := uint64(0); i < starts; i++ {
			number++
			if !timer.Reset(far(number)) { // it was not armed
				done.checksum++
			}
			if timer.Stop() {
				done.checksum++
			}
		}
		return done
	})
	runtime.KeepAlive(all)
}

func timerArm(run run) {
	timers(run, 0)
}

func timerArm1m(run run) {
	timers(run, pendingTimers)
}

// ---- Sleeps ----

func sleep1m(run run) {
	var group sync.WaitGroup
	var woken uint64
	cpuBegin, begin := cpuTime(), time.Now()
	group.Add(sleeps)
	for i := uint64(0); i < sleeps; i++ {
		go func(number uint64) {
			time.Sleep(time.Duration(number*2654435761%uint64(sleepsSpread) + 1))
			atomic.AddUint64(&woken, 1)
			group.Done()
		}(i)
	}
	group.Wait()
	wall, cpu := time.Since(begin), cpuTime()-cpuBegin
	reportOnce(wall, cpu, work{sleeps, woken, sleeps})
}

// ---- Wakes ----

// Two goroutines wake each other in turn, each locked to a thread of its own, which sleeps
// meanwhile.
func wakeParked(run run) {
	measure(run, func(rounds uint64) work {
		pairs := rounds * wakesPerRound / 2
		pings, pongs := make([]chan struct{}, pairs), make([]chan struct{}, pairs)
		for i := range pings {
			pings[i], pongs[i] = make(chan struct{}), make(chan struct{})
		}
		counts := make(chan uint64)
		wake := func(mine, theirs []chan struct{}, begins bool) {
			runtime.LockOSThread()
			count := uint64(0)
			for i := range mine {
				if begins {
					close(theirs[i])
				}
				<-mine[i]
				count++
				if !begins {
					close(theirs[i])
				}
			}
			counts <- count
		}
		go wake(pings, pongs, false)
		go wake(pongs, pings, true)
		return work{2 * pairs, <-counts + <-counts, 2 * pairs}
	})
}

// A goroutine wakes another and goes on; the other worker, which looks for work, takes it over.
func wakeHot(run run) {
	measure(run, func(rounds uint64) work {
		wakes := rounds * wakesPerRound
		pings := make([]chan struct{}, wakes)
		for i := range pings {
			pings[i] = make(chan struct{})
		}
		var woken uint64
		go func() {
			for i := range pings {
				<-pings[i]
				atomic.AddUint64(&woken, 1)
			}
		}()
		for i := range pings {
			close(pings[i])
			for atomic.LoadUint64(&woken) <= uint64(i) {
			}
		}
		return work{wakes, woken, wakes}
	})
}
