package main

import (
	"fmt"
	"log/slog"

	"perigee/agent"
	"perigee/bundle/app"
	"perigee/ground"
	"perigee/models"
)

// newApplications makes the applications that the configuration asks for.
func newApplications(c *config, node engine, run engines, log *slog.Logger) ([]application, error) {
	var apps []application
	if c.Satellite != nil {
		a, err := agent.New(*c.Satellite, agent.Parts{
			Client: node.Client(), Clock: clock{}, Engine: run.start, Log: log.With("part", "satellite"),
		})
		if err != nil {
			return nil, fmt.Errorf("making the satellite application: %w", err)
		}
		apps = append(apps, application{
			name: "satellite", run: a.Run, report: func(s *app.Status) { s.OnBoard = a.OnBoard() }, rollBack: a.RollBack,
		})
	}
	if c.Ground != nil {
		g, err := ground.New(*c.Ground, ground.Parts{
			Client: node.Client(), Clock: clock{}, Log: log.With("part", "ground"),
			Engine: func(n *models.Network) (models.Engine, error) { return run.start(n, c.Ground.Train.Threads) },
		})
		if err != nil {
			return nil, fmt.Errorf("making the ground application: %w", err)
		}
		apps = append(apps, application{name: "ground", run: g.Run, report: func(s *app.Status) { s.OnGround = g.OnGround() }})
	}
	if agents, ok := c.dtn7Agents(node, log.With("part", "dtn7")); ok {
		apps = append(apps, agents)
	}
	return apps, nil
}
